/**
 * The film that the player shows: each of its pictures holds a frame of the source and the frame of
 * the edit that belongs to it, so the two cannot come apart. The film is driven by one video element
 * that is never part of the page.
 *
 * @typedef {object} FilmData What the node sends, see `films_for_player` in the Python part.
 * @property {string} filename
 * @property {string} subfolder
 * @property {string} type
 * @property {Object<string, {filename: string, subfolder: string, type: string}>} sounds
 * @property {number} width of one of the two frames
 * @property {number} height of one of the two frames
 * @property {number} count frames
 * @property {number} fps
 * @property {number[] | null} times seconds of each frame where the rate varies
 * @property {string[]} remarks
 */

/** Part of a frame by which decoders round times. */
const SLACK = 0.1;

export class Film {
    /**
     * @param {FilmData} data
     * @param {(file: object) => string} urlOf the address of a file
     * @param {{onFrame: () => void, onState: () => void, onMissing: () => void}} listener
     */
    constructor(data, urlOf, listener) {
        this.data = data;
        this.listener = listener;
        this.index = 0;
        this.wanted = null;
        this.ready = false;
        this.released = new AbortController();
        this.video = document.createElement("video");
        Object.assign(this.video, { muted: true, loop: true, playsInline: true, preload: "auto" });
        const on = (name, react) =>
            this.video.addEventListener(name, react, { signal: this.released.signal });
        on("loadeddata", () => this.#begin());
        on("error", () => listener.onMissing());
        on("seeked", () => this.#arrive());
        for (const name of ["play", "pause", "ended"]) on(name, () => listener.onState());
        this.video.src = urlOf(data);
        this.#await();
    }

    get playing() {
        return !this.video.paused && !this.video.ended;
    }

    /** Seconds at which a frame is shown. */
    timeOf(index) {
        return this.data.times ? this.data.times[index] : index / this.data.fps;
    }

    /** Where a frame of the source or of the edit lies in a picture: [x, y, width, height]. */
    placeOf(side) {
        const { width, height } = this.data;
        if (side === "source") return [0, 0, width, height];
        return width >= height ? [0, height, width, height] : [width, 0, width, height];
    }

    play() {
        if (this.data.count < 2) return;
        if (!this.video.loop && this.index === this.data.count - 1) this.video.currentTime = 0;
        this.video.play().catch(() => this.listener.onState());
    }

    /** Stop at the frame that was shown last, exactly. */
    pause() {
        if (!this.playing) return;
        this.video.pause();
        this.seek(this.index);
    }

    /** Show a frame; while one is on its way, only the last wish counts. */
    seek(index) {
        this.wanted = Math.min(Math.max(0, Math.round(index)), this.data.count - 1);
        if (this.ready && !this.video.seeking) this.#depart();
    }

    step(frames) {
        this.pause();
        const from = this.wanted ?? this.index;
        const { count } = this.data;
        this.seek(this.video.loop ? (from + frames + count) % count : from + frames);
    }

    set loop(on) {
        this.video.loop = on;
    }

    set speed(factor) {
        this.video.playbackRate = factor;
    }

    release() {
        this.released.abort();
        this.video.pause();
        if (this.handle !== undefined) this.video.cancelVideoFrameCallback(this.handle);
        if (this.asking !== undefined) cancelAnimationFrame(this.asking);
        this.video.removeAttribute("src");
        this.video.load();
    }

    #begin() {
        this.ready = true;
        this.listener.onState();
        if (this.wanted !== null) this.#depart();
        else this.#show(this.video.currentTime);
    }

    /** Go to the middle of the wanted frame: its edges belong to either neighbour. */
    #depart() {
        const { count, fps } = this.data;
        const begin = this.timeOf(this.wanted);
        const end = this.wanted + 1 < count ? this.timeOf(this.wanted + 1) : begin + 1 / fps;
        this.leftFor = this.wanted;
        this.video.currentTime = (begin + end) / 2;
    }

    #arrive() {
        if (this.wanted !== null && this.leftFor !== this.wanted) {
            this.#depart();
            return;
        }
        this.wanted = null;
        if (this.video.paused) this.#show(this.video.currentTime);
    }

    /** Wait for the next picture; older browsers do not tell, and are asked again and again. */
    #await() {
        const { video } = this;
        if (!video.requestVideoFrameCallback) {
            this.asking = requestAnimationFrame(() => {
                this.#await();
                if (this.playing) this.#show(video.currentTime);
            });
            return;
        }
        this.handle = video.requestVideoFrameCallback((now, { mediaTime }) => {
            if (this.released.signal.aborted) return;
            this.#await();
            this.#show(mediaTime);
        });
    }

    #show(time) {
        this.index = this.#indexAt(time);
        this.listener.onFrame();
    }

    #indexAt(time) {
        const { count, fps, times } = this.data;
        if (!times) return Math.min(count - 1, Math.max(0, Math.floor(time * fps + SLACK)));
        let index = 0;
        while (index + 1 < count && times[index + 1] <= time + SLACK / fps) index += 1;
        return index;
    }
}
