/**
 * The player's keys. They work only while something in the player has the focus, and then do not
 * reach the canvas: Delete would remove the node. What belongs to the whole application goes on.
 */

import { isOfTheApplication } from "../shared/keys.js";

const EVENTS = ["keydown", "keyup", "keypress", "copy", "cut", "paste"];

/** What a key does, by the name of a method of the player and its argument. */
export const KEYS = {
    " ": ["togglePlaying"],
    k: ["togglePlaying"],
    ArrowLeft: ["step", -1],
    ArrowRight: ["step", 1],
    ",": ["step", -1],
    ".": ["step", 1],
    Home: ["seek", 0],
    End: ["seek", Infinity],
    l: ["toggleLoop"],
    s: ["nextSound"],
    1: ["setMode", "wipe"],
    2: ["setMode", "side"],
    3: ["setMode", "difference"],
    4: ["setMode", "flip"],
    "[": ["moveWipe", -0.02],
    "]": ["moveWipe", 0.02],
    e: ["openLarge"],
};
const FLIP = "f";

/**
 * Let `root` handle the keys of `player`.
 * @param {HTMLElement} root
 * @param {import("./player.js").Player} player
 */
export function listenToKeys(root, player) {
    for (const name of EVENTS)
        root.addEventListener(name, (event) => {
            if (!isOfTheApplication(event)) event.stopPropagation();
            if (name === "keydown") press(event, player);
            if (name === "keyup" && event.key.toLowerCase() === FLIP) player.flip(false);
        });
    root.addEventListener("focusout", () => player.flip(false));
}

function press(event, player) {
    if (event.ctrlKey || event.metaKey || event.altKey || isTheElements(event)) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (key === FLIP) {
        if (!event.repeat) player.flip(true);
    } else if (KEYS[key]) {
        const [method, argument] = KEYS[key];
        player[method](argument);
    } else return;
    event.preventDefault();
}

/** Whether the element with the focus has a use for this key itself. */
function isTheElements({ target, key }) {
    if (target instanceof HTMLSelectElement) return true;
    if (target instanceof HTMLButtonElement) return key === " " || key === "Enter";
    return target instanceof HTMLInputElement && /^(Arrow|Home|End|Page)/.test(key);
}
