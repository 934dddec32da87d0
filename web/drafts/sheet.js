/**
 * The sheet in the node: a band for each instruction and frame, the source first, then a button for
 * each draft. What it shows is a state as the node sends it:
 *
 * @typedef {{filename: string, subfolder: string, type: string}} File
 * @typedef {object} DraftData
 * @property {string} seed text, for JavaScript's numbers are exact up to 2^53 only
 * @property {string} instruction
 * @property {number} frame
 * @property {string} pick how the node names this seed and instruction
 * @property {File | null} image null until it is drawn
 *
 * @typedef {object} SheetState
 * @property {DraftData[]} drafts in the order of the sheet
 * @property {Object<string, File>} sources by the number of their frame
 * @property {string[]} notes
 * @property {string[]} costs
 * @property {"drawing" | "stopped" | "failed" | "away" | "lost" | "done"} stage away: no connection
 *     to ComfyUI; lost: it was started again
 */

import { isOfTheApplication } from "../shared/keys.js";
import { translatable, translate } from "../shared/words.js";

/** Pictures up to this many pixels wide are shown as they are, pixel for pixel. */
const SMALL = 96;
const EMPTY = translatable(
    "Drafts appear here when the node runs. Click one to use its seed and instruction.",
);
const GONE = translatable(
    "Pictures of drafts are temporary, and ComfyUI has removed these. Run the node to draw them " +
        "again; the pick is kept.",
);
/** What is said of a sheet that is not finished, by the stage in which it ended. */
const ENDED = {
    stopped: translatable(
        "Stopped: %drawn% of %all% drafts are drawn. Another run draws only the others.",
    ),
    failed: translatable(
        "The run failed: %drawn% of %all% drafts are drawn. Another run draws only the others.",
    ),
    away: translatable("ComfyUI does not answer: %drawn% of %all% drafts are drawn."),
    lost: translatable(
        "ComfyUI was started again: %drawn% of %all% drafts are drawn. Another run draws all of " +
            "them.",
    ),
};

export class Sheet {
    /**
     * @param {(file: File) => string} urlOf the address of a file
     * @param {(pick: string) => void} onPick what a click on a draft does
     */
    constructor(urlOf, onPick) {
        this.urlOf = urlOf;
        this.onPick = onPick;
        this.state = null;
        this.pick = "";
        this.released = new AbortController();
        this.costs = make("p", "sama-drafts-costs");
        this.choice = make("p", "sama-drafts-choice");
        this.bands = make("div", "sama-drafts-bands");
        this.notes = make("p", "sama-drafts-notes");
        this.message = make("p", "sama-drafts-message", translate(EMPTY));
        this.message.setAttribute("role", "status");
        this.element = make("div", "sama-drafts");
        this.element.append(this.choice, this.message, this.bands, this.costs, this.notes);
        this.#keepFromCanvas();
        this.#tell();
    }

    /**
     * Show another state, from its beginning.
     * @param {SheetState} state
     */
    show(state) {
        this.state = state;
        this.gone = false;
        this.cells = [];
        this.bands.replaceChildren();
        const bands = new Map();
        for (const draft of state.drafts) {
            const title = translate("%instruction% · frame %frame%", draft);
            if (!bands.has(title)) bands.set(title, this.#band(title, draft.frame));
            const cell = this.#cell(draft);
            bands.get(title).append(cell.button);
            this.cells.push(cell);
            if (draft.image) this.#fill(cell.picture, draft.image);
        }
        this.mark(this.pick);
    }

    /** Show what changed in the state: more pictures, by their numbers, or how the run ended. */
    update(drawn = []) {
        for (const number of drawn)
            this.#fill(this.cells[number].picture, this.state.drafts[number].image);
        this.#tell();
    }

    /** Mark the drafts of a pick, or the first one where the sheet has no such pick. */
    mark(pick) {
        this.pick = squeeze(pick);
        if (!this.state) return;
        const drafts = this.state.drafts;
        const found = drafts.some((draft) => squeeze(draft.pick) === this.pick);
        const chosen = found ? this.pick : squeeze(drafts[0].pick);
        this.cells.forEach(({ button }, number) => {
            const marked = squeeze(drafts[number].pick) === chosen;
            button.setAttribute("aria-pressed", String(found && marked));
            button.toggleAttribute("data-first", !found && marked);
        });
        this.found = found;
        this.#tell();
        if (found) this.#showPick();
    }

    release() {
        this.released.abort();
        this.bands.replaceChildren();
    }

    /** Scroll to the pick, unless it is seen. */
    #showPick() {
        const { element } = this;
        const pick = element.querySelector('[aria-pressed="true"]').getBoundingClientRect();
        const seen = element.getBoundingClientRect();
        const scale = seen.height / element.offsetHeight || 1;
        const above = pick.top - seen.top - this.choice.offsetHeight * scale;
        const below = pick.bottom - seen.bottom;
        if (above < 0) element.scrollTop += above / scale;
        else if (below > 0) element.scrollTop += Math.min(above, below) / scale;
    }

    #band(title, frame) {
        const band = make("div", "sama-drafts-band");
        const source = make("figure", "sama-drafts-cell");
        const picture = make("div", "sama-drafts-picture");
        source.append(picture, make("span", "sama-drafts-label", translate("source")));
        const file = this.state.sources[frame];
        if (file) this.#fill(picture, file);
        band.append(source);
        this.bands.append(make("h4", "", title), band);
        return band;
    }

    #cell(draft) {
        const button = make("button", "sama-drafts-cell");
        const picture = make("div", "sama-drafts-picture", "…");
        button.type = "button";
        button.title = translate("Use seed %seed%: %instruction%", draft);
        button.append(picture, make("span", "sama-drafts-label", translate("seed %seed%", draft)));
        button.addEventListener("click", () => this.onPick(draft.pick), {
            signal: this.released.signal,
        });
        return { button, picture };
    }

    #fill(picture, file) {
        const image = document.createElement("img");
        image.alt = "";
        image.addEventListener("load", () => {
            picture.toggleAttribute("data-small", image.naturalWidth <= SMALL);
            const shape = `${image.naturalWidth} / ${image.naturalHeight}`;
            this.bands.style.setProperty("--sama-drafts-shape", shape);
        });
        image.addEventListener("error", () => {
            picture.replaceChildren(translate("gone"));
            this.gone = true;
            this.#tell();
        });
        image.src = this.urlOf(file);
        picture.replaceChildren(image);
    }

    /** The texts around the pictures. */
    #tell() {
        const { state } = this;
        this.#say(this.choice, state ? this.#choiceText() : "");
        this.#say(this.costs, (state?.costs ?? []).join("\n"));
        this.#say(this.notes, (state?.notes ?? []).join("\n"));
        this.#say(this.message, state ? this.#messageText() : translate(EMPTY));
    }

    #choiceText() {
        const chosen = this.found
            ? this.state.drafts.find((draft) => squeeze(draft.pick) === this.pick)
            : this.state.drafts[0];
        if (this.found) return translate("Picked: seed %seed%, “%instruction%”", chosen);
        return this.pick
            ? translate(
                  "The pick is not on this sheet: the first draft counts, seed %seed%, " +
                      "“%instruction%”.",
                  chosen,
              )
            : translate(
                  "Nothing is picked: the first draft counts, seed %seed%, “%instruction%”.",
                  chosen,
              );
    }

    #messageText() {
        if (this.gone) return translate(GONE);
        const drawn = this.state.drafts.filter((draft) => draft.image).length;
        const all = this.state.drafts.length;
        const ended = ENDED[this.state.stage];
        return drawn < all && ended ? translate(ended, { drawn, all }) : "";
    }

    #say(element, text) {
        element.textContent = text;
        element.hidden = !text;
    }

    /** Keys and the wheel work in the sheet, where it has a use for them, and not on the canvas. */
    #keepFromCanvas() {
        const { signal } = this.released;
        this.element.addEventListener(
            "keydown",
            (event) => {
                const used = [" ", "Enter", "Delete", "Backspace"].includes(event.key);
                if (used && !isOfTheApplication(event)) event.stopPropagation();
            },
            { signal },
        );
        this.element.addEventListener(
            "wheel",
            (event) => {
                const scrolls = this.element.scrollHeight > this.element.clientHeight;
                if (scrolls && !event.ctrlKey) event.stopPropagation();
            },
            { signal, passive: true },
        );
    }
}

function make(name, className, text = "") {
    const element = document.createElement(name);
    if (className) element.className = className;
    element.textContent = text;
    return element;
}

function squeeze(text) {
    return String(text ?? "")
        .trim()
        .split(/\s+/)
        .join(" ");
}
