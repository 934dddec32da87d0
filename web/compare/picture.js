/** Drawing a picture of the film into a canvas, in one of the player's modes. */

import { translatable } from "../shared/words.js";
import { HeatMap } from "./heat.js";

/** The player's modes, in the order of their buttons and keys 1 to 4. */
export const MODES = {
    wipe: translatable("Wipe"),
    side: translatable("Side by side"),
    difference: translatable("Difference"),
    flip: translatable("Flip"),
};
/** Pixels between the frames of a side-by-side view. */
const GAP = 4;

export class Picture {
    /** @param {HTMLCanvasElement} canvas */
    constructor(canvas) {
        this.canvas = canvas;
        this.pen = canvas.getContext("2d");
        this.heat = new HeatMap();
        this.whole = document.createElement("canvas");
        this.copy = this.whole.getContext("2d");
    }

    /**
     * While the film plays, with no more pixels than the screen shows: a busy computer has no time
     * for others.
     * @param {import("./film.js").Film} film
     * @param {string} mode one of MODES
     * @param {number} wipe where the line stands, 0 to 1; left of it is the source
     * @param {boolean} flipped show the source alone, in any mode
     */
    draw(film, mode, wipe, flipped) {
        if (film.video.readyState < HTMLMediaElement.HAVE_CURRENT_DATA) return;
        const { width, height } = film.data;
        this.#take(film.video);
        this.spare = film.playing;
        if (flipped || mode === "flip") {
            this.#size(width, height);
            this.#frame(film, flipped ? "source" : "edit", 0, 0);
        } else if (mode === "side") {
            this.#size(2 * width + GAP, height);
            this.#frame(film, "source", 0, 0);
            this.#frame(film, "edit", width + GAP, 0);
        } else if (mode === "difference") {
            this.#size(width, height);
            this.pen.drawImage(this.heat.of(film, this.whole), 0, 0, width, height);
        } else {
            this.#size(width, height);
            this.#wipe(film, Math.round(wipe * width));
        }
    }

    /** Where the canvas's picture is in the page, inside the space it is fitted to. */
    area() {
        const box = this.canvas.getBoundingClientRect();
        const scale = Math.min(box.width / this.canvas.width, box.height / this.canvas.height);
        const [width, height] = [this.canvas.width * scale, this.canvas.height * scale];
        return {
            left: box.left + (box.width - width) / 2,
            top: box.top + (box.height - height) / 2,
            width,
            height,
        };
    }

    /** Take the film's picture once: between two takes the browser may go on to the next one. */
    #take(video) {
        const { videoWidth, videoHeight } = video;
        if (this.whole.width !== videoWidth) this.whole.width = videoWidth;
        if (this.whole.height !== videoHeight) this.whole.height = videoHeight;
        this.copy.drawImage(video, 0, 0);
    }

    #wipe(film, line) {
        const { width, height } = film.data;
        this.#frame(film, "edit", 0, 0);
        if (line > 0) {
            this.pen.save();
            this.pen.beginPath();
            this.pen.rect(0, 0, line, height);
            this.pen.clip();
            this.#frame(film, "source", 0, 0);
            this.pen.restore();
        }
        const thick = Math.max(1, Math.round(width / 400));
        this.pen.fillStyle = "#fff";
        this.pen.fillRect(line - thick / 2, 0, thick, height);
    }

    #frame(film, side, x, y) {
        const { width, height } = film.data;
        this.pen.drawImage(this.whole, ...film.placeOf(side), x, y, width, height);
    }

    /** Give the canvas a size, or on the screen fewer pixels; its pen keeps counting in these. */
    #size(width, height) {
        const scale = this.spare ? Math.min(1, this.#screenScale(width, height)) : 1;
        const [across, down] = [width, height].map((side) => Math.max(1, Math.round(side * scale)));
        if (this.canvas.width !== across) this.canvas.width = across;
        if (this.canvas.height !== down) this.canvas.height = down;
        this.pen.setTransform(across / width, 0, 0, down / height, 0, 0);
    }

    /** Pixels of the screen for one of a picture of that size. */
    #screenScale(width, height) {
        const box = this.canvas.getBoundingClientRect();
        const scale = Math.min(box.width / width, box.height / height);
        return scale * window.devicePixelRatio || 1;
    }
}
