/** The player's elements: a bar of modes, the stage, a slider, and a bar of buttons. */

import { translate } from "../shared/words.js";
import { heatGradient, HEAT_RANGE } from "./heat.js";
import { MODES } from "./picture.js";
import { SOUNDS, SPEEDS } from "./view.js";

/** Signs of buttons: filled paths of 16x16. */
const SIGNS = {
    play: "M4 2v12l9-6z",
    pause: "M4 2h3v12H4zM9 2h3v12H9z",
    back: "M11 3v10L5 8zM3 3h2v10H3z",
    on: "M5 3v10l6-5zM11 3h2v10h-2z",
    loop: "M11 1l4 3-4 3V5H4v3H2V3h9zM5 15l-4-3 4-3v2h7V8h2v5H5z",
    large: "M2 2h5v2H4v3H2zM9 2h5v5h-2V4H9zM2 9h2v3h3v2H2zM12 9h2v5H9v-2h3z",
};
const SVG = "http://www.w3.org/2000/svg";

/** A picture of a button. */
function sign(name) {
    const svg = document.createElementNS(SVG, "svg");
    const path = document.createElementNS(SVG, "path");
    svg.setAttribute("viewBox", "0 0 16 16");
    svg.setAttribute("aria-hidden", "true");
    path.setAttribute("d", SIGNS[name]);
    svg.append(path);
    return svg;
}

/** An element with attributes and children. */
export function element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
}

export class Controls {
    /** @param {import("./player.js").Player} player */
    constructor(player) {
        this.player = player;
        this.canvas = element("canvas", { class: "sama-compare-canvas" });
        this.labels = {
            source: element("span", { class: "sama-compare-label" }, translate("source")),
            edit: element("span", { class: "sama-compare-label" }, translate("edit")),
        };
        this.message = element("p", { class: "sama-compare-message", role: "status" });
        this.legend = element(
            "div",
            { class: "sama-compare-legend", "aria-label": translate("Scale of the difference") },
            "0",
            element("span", { style: `background: ${heatGradient()}` }),
            translate("%number%+ of 255 levels", { number: HEAT_RANGE }),
        );
        this.stage = element(
            "div",
            {
                class: "sama-compare-stage",
                tabindex: "0",
                role: "group",
                "aria-label": translate(
                    "Comparison. Space plays, left and right arrow step, 1 to 4 choose the view, " +
                        "F held shows the source, square brackets move the wipe, E opens it large.",
                ),
            },
            this.canvas,
            this.labels.source,
            this.labels.edit,
            this.legend,
            this.message,
        );
        this.readout = element("output", { class: "sama-compare-readout", "aria-live": "off" });
        this.remarks = element("div", { class: "sama-compare-remarks" });
        this.root = element(
            "div",
            { class: "sama-compare" },
            this.#modeBar(),
            this.stage,
            this.#slider(),
            this.#buttonBar(),
            this.remarks,
        );
    }

    /** Show the state of the player. */
    update() {
        const { view, film, flipped } = this.player;
        for (const [mode, button] of Object.entries(this.modes))
            button.setAttribute("aria-pressed", String(mode === view.mode));
        const alone = flipped ? "source" : view.mode === "flip" ? "edit" : null;
        const both = !alone && view.mode !== "difference";
        this.stage.dataset.mode = flipped ? "flip" : view.mode;
        this.labels.source.hidden = !film || !(both || alone === "source");
        this.labels.edit.hidden = !film || !(both || alone === "edit");
        this.legend.hidden = !film || flipped || view.mode !== "difference";
        this.#name(
            this.playButton,
            film?.playing ? "pause" : "play",
            film?.playing ? translate("Pause") : translate("Play"),
        );
        this.loopButton.setAttribute("aria-pressed", String(view.loop));
        this.speed.value = String(view.speed);
        this.sound.value = view.sound;
        const count = film?.data.count ?? 0;
        for (const control of this.needFilm) control.disabled = !film;
        for (const control of this.needFrames) control.disabled = count < 2;
        this.slider.max = String(Math.max(0, count - 1));
        for (const option of this.sound.options)
            option.disabled = option.value !== "none" && !film?.data.sounds?.[option.value];
        this.remarks.textContent = (film?.data.remarks ?? []).join("\n");
        this.updateFrame();
    }

    /** Show the frame that is drawn now. */
    updateFrame() {
        const { film } = this.player;
        if (!film) {
            this.readout.textContent = "";
            return;
        }
        const { index, data } = film;
        const at = { index, last: data.count - 1, time: film.timeOf(index).toFixed(3) };
        if (!this.scrubbing) this.slider.value = String(index);
        this.slider.setAttribute("aria-valuetext", translate("frame %index% of 0 to %last%", at));
        this.readout.textContent = translate("frame %index% / %last% · %time% s", at);
    }

    /** A text in place of the picture; an empty one shows the picture. */
    say(text) {
        this.message.textContent = text;
        this.message.hidden = !text;
        this.canvas.hidden = Boolean(text);
    }

    #modeBar() {
        this.modes = {};
        for (const [mode, title] of Object.entries(MODES))
            this.modes[mode] = this.#button(
                translate(title),
                translate("Show as: %view%", { view: translate(title) }),
                () => this.player.setMode(mode),
            );
        this.large = this.#button("large", translate("Full size (E); Escape closes"), () =>
            this.player.openLarge(),
        );
        return element(
            "div",
            { class: "sama-compare-bar", role: "toolbar", "aria-label": translate("View") },
            ...Object.values(this.modes),
            element("span", { class: "sama-compare-space" }),
            this.large,
        );
    }

    #slider() {
        this.slider = element("input", {
            type: "range",
            min: "0",
            max: "0",
            value: "0",
            step: "1",
            "aria-label": translate("Frame"),
        });
        this.#on(this.slider, "input", () => this.player.seek(Number(this.slider.value)));
        this.#on(this.slider, "pointerdown", () => (this.scrubbing = true));
        for (const name of ["pointerup", "pointercancel"])
            this.#on(this.slider, name, () => (this.scrubbing = false));
        return this.slider;
    }

    #buttonBar() {
        const { player } = this;
        const back = this.#button("back", translate("One frame back (left arrow)"), () =>
            player.step(-1),
        );
        const forth = this.#button("on", translate("One frame on (right arrow)"), () =>
            player.step(1),
        );
        this.playButton = this.#button("play", translate("Play"), () => player.togglePlaying());
        this.loopButton = this.#button("loop", translate("Loop (L)"), () => player.toggleLoop());
        this.speed = this.#select(
            translate("Speed"),
            SPEEDS.map((speed) => [String(speed), `${speed}×`]),
            (value) => player.setSpeed(Number(value)),
        );
        this.sound = this.#select(
            translate("Sound"),
            Object.entries(SOUNDS).map(([side, text]) => [side, translate(text)]),
            (value) => player.setSound(value),
        );
        this.needFilm = [this.large, ...Object.values(this.modes), this.sound];
        this.needFrames = [this.slider, back, forth, this.playButton, this.loopButton, this.speed];
        return element(
            "div",
            { class: "sama-compare-bar", role: "toolbar", "aria-label": translate("Playing") },
            back,
            this.playButton,
            forth,
            this.loopButton,
            this.speed,
            this.sound,
            element("span", { class: "sama-compare-space" }),
            this.readout,
        );
    }

    #button(face, name, press) {
        const button = element("button", { type: "button" });
        this.#name(button, face, name);
        this.#on(button, "click", press);
        return button;
    }

    #name(button, face, name) {
        button.replaceChildren(face in SIGNS ? sign(face) : face);
        button.title = name;
        button.setAttribute("aria-label", name);
    }

    #select(name, options, choose) {
        const select = element(
            "select",
            { title: name, "aria-label": name },
            ...options.map(([value, text]) => element("option", { value }, text)),
        );
        this.#on(select, "change", () => choose(select.value));
        return select;
    }

    #on(target, name, react) {
        target.addEventListener(name, react);
    }
}
