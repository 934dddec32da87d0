/** The heat map of a difference: black where nothing changed, white where much did. */

/** The difference, in levels of 255, from which it is white; as in `clip/comparison.py`. */
export const HEAT_RANGE = 64;
/** From no difference to `HEAT_RANGE`; as in `clip/comparison.py`. */
export const HEAT_COLOURS = [
    [0, 0, 0],
    [60, 10, 110],
    [190, 40, 90],
    [250, 140, 20],
    [255, 255, 230],
];
/** More pixels than this on a side cost time and show nothing more. */
const LARGEST = 960;

/** The colour of each difference from 0 to 255, as the four bytes of a pixel. */
export function heatTable() {
    const bytes = new Uint8ClampedArray(256 * 4);
    for (let level = 0; level < 256; level += 1) {
        const at = Math.min(level / HEAT_RANGE, 1) * (HEAT_COLOURS.length - 1);
        const low = Math.min(Math.floor(at), HEAT_COLOURS.length - 2);
        for (let channel = 0; channel < 3; channel += 1) {
            const [from, to] = [HEAT_COLOURS[low][channel], HEAT_COLOURS[low + 1][channel]];
            bytes[4 * level + channel] = Math.round(from + (to - from) * (at - low));
        }
        bytes[4 * level + 3] = 255;
    }
    return new Uint32Array(bytes.buffer);
}

/** The colours as a CSS gradient, for the legend. */
export function heatGradient() {
    return `linear-gradient(to right, ${HEAT_COLOURS.map((rgb) => `rgb(${rgb})`).join(", ")})`;
}

export class HeatMap {
    constructor() {
        this.table = heatTable();
        this.canvas = document.createElement("canvas");
        this.pen = this.canvas.getContext("2d", { willReadFrequently: true });
    }

    /**
     * The canvas with the difference of both frames of the film's picture.
     * @param {import("./film.js").Film} film
     * @param {HTMLCanvasElement} whole a picture of it
     */
    of(film, whole) {
        const { width, height } = film.data;
        const scale = Math.min(1, LARGEST / Math.max(width, height));
        this.canvas.width = Math.max(1, Math.round(width * scale));
        this.canvas.height = Math.max(1, Math.round(height * scale));
        const source = this.#pixels(whole, film.placeOf("source"));
        const edit = this.#pixels(whole, film.placeOf("edit"));
        const shown = new Uint32Array(edit.data.buffer);
        const [one, other] = [source.data, edit.data];
        for (let pixel = 0, at = 0; pixel < shown.length; pixel += 1, at += 4) {
            const red = Math.abs(one[at] - other[at]);
            const green = Math.abs(one[at + 1] - other[at + 1]);
            const blue = Math.abs(one[at + 2] - other[at + 2]);
            shown[pixel] = this.table[Math.max(red, green, blue)];
        }
        this.pen.putImageData(edit, 0, 0);
        return this.canvas;
    }

    #pixels(whole, place) {
        const { width, height } = this.canvas;
        this.pen.drawImage(whole, ...place, 0, 0, width, height);
        return this.pen.getImageData(0, 0, width, height);
    }
}
