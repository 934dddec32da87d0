/** How the player shows a film; what is kept in the workflow. */

import { translatable } from "../shared/words.js";
import { MODES } from "./picture.js";

export const SOUNDS = {
    none: translatable("No sound"),
    edit: translatable("Sound of the edit"),
    source: translatable("Sound of the source"),
};
export const SPEEDS = [0.1, 0.25, 0.5, 1, 2];

const DEFAULT = { mode: "wipe", wipe: 0.5, sound: "none", loop: true, speed: 1 };

/** A view from what was saved, whatever that is. */
export function viewFrom(saved) {
    const given = saved && typeof saved === "object" ? saved : {};
    const view = { ...DEFAULT };
    if (given.mode in MODES) view.mode = given.mode;
    if (given.sound in SOUNDS) view.sound = given.sound;
    if (SPEEDS.includes(given.speed)) view.speed = given.speed;
    if (typeof given.loop === "boolean") view.loop = given.loop;
    if (given.wipe >= 0 && given.wipe <= 1) view.wipe = Number(given.wipe);
    return view;
}

/** Saved data of a film, or null for anything that is none. */
export function filmFrom(saved) {
    const whole =
        saved &&
        typeof saved.filename === "string" &&
        [saved.width, saved.height, saved.count, saved.fps].every((number) => number > 0) &&
        (saved.times == null || saved.times.length === saved.count);
    if (!whole) return null;
    return { ...saved, remarks: Array.isArray(saved.remarks) ? saved.remarks : [] };
}
