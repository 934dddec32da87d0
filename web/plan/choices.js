/** What is finished in the minutes that an artist has: a row for each choice, with its button. */

import { copySettings, findEdits, nameOf } from "./copy_settings.js";
import { addStyle } from "../shared/style.js";
import { translatable, translate } from "../shared/words.js";

/** Under this name the choices come from the node, and are saved with it. */
export const CHOICES = "sama_choices";

/** The button of each choice, by its name in `sama_core/plan/minutes_text.py`. */
const USES = {
    Full: translatable("Use full"),
    Middle: translatable("Use middle"),
    Draft: translatable("Use draft"),
};
const EDGE = 8; // pixels below what is said, when the box is scrolled to it

/**
 * Rows for the choices of `list_choices` in `sama_core/plan/minutes_text.py`.
 *
 * @param {object} node the plan's node
 * @param {object[]} choices
 * @returns {HTMLElement}
 */
export function showChoices(node, choices) {
    addStyle("plan/plan.css");
    const made = document.createElement("div");
    made.className = "sama-choices";
    const said = document.createElement("div");
    said.className = "sama-said";
    said.setAttribute("role", "status");
    for (const choice of choices.filter((one) => one?.name))
        made.append(...row(node, choice, said));
    made.append(said);
    return made;
}

function row(node, choice, said) {
    const use = button(translate(USES[choice.name] ?? String(choice.name)), () => copy(node, choice, said));
    use.title = translate("Copy these settings to the edit node");
    const words = document.createElement("div");
    const time = document.createElement("span");
    time.className = "sama-time";
    time.textContent = String(choice.time);
    words.append(`${choice.says}; `, time);
    return [use, words];
}

/** Copies to the only edit node; where there are several, asks which one is meant. */
function copy(node, choice, said) {
    const edits = findEdits(node);
    if (edits.length > 1) {
        const each = edits.map((edit) =>
            button(nameOf(edit), () => say(said, copySettings(edit, choice))),
        );
        return fill(said, [`${translate("Which one gets the settings?")} `, ...each]);
    }
    if (edits.length) return say(said, copySettings(edits[0], choice));
    say(said, [
        translate("There is no SAMA Edit, SAMA Long Edit or SAMA Edit Whole Video to copy to."),
    ]);
}

function say(said, lines) {
    const made = lines.map((text) => {
        const line = document.createElement("div");
        line.textContent = text;
        return line;
    });
    fill(said, made);
}

/** Fills what is said, and scrolls the node's box to it: the box is lower than the choices are. */
function fill(said, parts) {
    said.replaceChildren(...parts);
    const box = said.closest(".sama-box");
    if (!box) return;
    const [seen, all] = [said.getBoundingClientRect(), box.getBoundingClientRect()];
    const zoom = all.height / box.offsetHeight || 1;
    const below = (seen.bottom - all.bottom) / zoom + EDGE;
    if (below > 0) box.scrollTop += Math.min(below, (seen.top - all.top) / zoom);
}

function button(text, act) {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = text;
    made.addEventListener("click", (event) => {
        event.stopPropagation();
        act();
    });
    return made;
}
