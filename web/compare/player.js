/**
 * A player of one comparison: it holds the film, the sound, the picture and the elements, and
 * everything that is done to it. It works from `attach` on; `release` gives all of it back.
 */

import { translatable, translate } from "../shared/words.js";
import { Controls } from "./controls.js";
import { Film } from "./film.js";
import { listenToKeys } from "./keys.js";
import { LargeView } from "./large.js";
import { Picture } from "./picture.js";
import { FilmSound } from "./sound.js";
import { SOUNDS, filmFrom, viewFrom } from "./view.js";

const EMPTY = translatable("Run the graph to compare.");
const MISSING = translatable(
    "The comparison is gone: ComfyUI keeps it until it is closed. Run the graph again to see it.",
);

/** All players that are attached and not released. */
export const players = new Set();

export class Player {
    /**
     * @param {(file: object) => string} urlOf the address of a file
     * @param {(view: object) => void} keep is called with the view whenever the user changed it
     */
    constructor(urlOf, keep) {
        this.urlOf = urlOf;
        this.keep = keep;
        this.view = viewFrom(null);
        this.film = null;
        this.flipped = false;
        this.attached = null;
        this.controls = new Controls(this);
        this.element = this.controls.root;
        this.picture = new Picture(this.controls.canvas);
        this.large = new LargeView(this.element);
        listenToKeys(this.element, this);
        this.#listenToPointer();
        this.controls.say(translate(EMPTY));
        this.controls.update();
    }

    /** Begin to work: the player is in a node of a graph. */
    attach() {
        if (this.attached) return;
        this.attached = new AbortController();
        const { signal } = this.attached;
        document.addEventListener("visibilitychange", () => this.#follow(), { signal });
        players.add(this);
    }

    /** Give everything back; it may be attached again. */
    release() {
        this.#dropFilm();
        this.large.close();
        this.attached?.abort();
        this.attached = null;
        this.element.remove();
        players.delete(this);
    }

    /** Show a film, or that there is none, in a view; both as they were saved, or may be missing. */
    show(film, view) {
        if (!this.attached) return;
        this.view = viewFrom(view ?? this.view);
        const data = filmFrom(film);
        if (data && this.film?.data.filename === data.filename) {
            this.#applyView();
            this.controls.update();
            this.draw();
            return;
        }
        this.#dropFilm();
        this.controls.say(data ? "" : translate(EMPTY));
        if (data) {
            this.film = new Film(data, this.urlOf, {
                onFrame: () => this.#onFrame(),
                onState: () => this.#onState(),
                onMissing: () => this.#onMissing(),
            });
            this.sound = new FilmSound(this.film, this.urlOf);
            this.#applyView();
        }
        this.controls.update();
    }

    togglePlaying() {
        if (!this.film) return;
        if (this.film.playing) this.film.pause();
        else this.film.play();
    }

    seek(index) {
        this.film?.pause();
        this.film?.seek(Math.min(index, this.film.data.count - 1));
    }

    step(frames) {
        this.film?.step(frames);
    }

    setMode(mode) {
        this.#change({ mode });
    }

    setSpeed(speed) {
        this.#change({ speed });
    }

    setSound(sound) {
        this.#change({ sound });
    }

    toggleLoop() {
        this.#change({ loop: !this.view.loop });
    }

    nextSound() {
        const heard = Object.keys(SOUNDS).filter(
            (side) => side === "none" || this.film?.data.sounds?.[side],
        );
        this.setSound(heard[(heard.indexOf(this.view.sound) + 1) % heard.length]);
    }

    moveWipe(by) {
        this.#change({ wipe: Math.min(1, Math.max(0, this.view.wipe + by)) });
    }

    /** Show the source alone, while a key or the pointer is held. */
    flip(on) {
        if (this.flipped === on) return;
        this.flipped = on;
        this.controls.update();
        this.draw();
    }

    openLarge() {
        this.large.toggle();
    }

    draw() {
        if (this.film) this.picture.draw(this.film, this.view.mode, this.view.wipe, this.flipped);
    }

    #change(changes) {
        this.view = viewFrom({ ...this.view, ...changes });
        this.#applyView();
        this.controls.update();
        this.draw();
        this.keep(this.view);
    }

    #applyView() {
        if (!this.film) return;
        this.film.loop = this.view.loop;
        this.film.speed = this.view.speed;
        this.sound.choose(this.view.sound);
    }

    #onFrame() {
        this.draw();
        this.controls.updateFrame();
        this.sound.follow();
        // In a subgraph that was left, or outside of the view, nobody sees it.
        if (this.film.playing && !isSeen(this.element)) this.film.pause();
    }

    #onState() {
        this.sound?.follow();
        this.controls.update();
        this.draw();
    }

    #onMissing() {
        this.#dropFilm();
        this.controls.say(translate(MISSING));
        this.controls.update();
    }

    /** A hidden tab pauses; when it is seen again it goes on where it was. */
    #follow() {
        if (document.hidden) {
            this.goesOn = this.film?.playing ?? false;
            this.film?.pause();
        } else if (this.goesOn) {
            this.goesOn = false;
            this.film?.play();
        }
    }

    #dropFilm() {
        this.goesOn = false;
        this.sound?.release();
        this.film?.release();
        this.sound = this.film = null;
    }

    /** Drag the line of the wipe; in the flip view, hold to see the source. */
    #listenToPointer() {
        const { stage } = this.controls;
        const on = (name, react) => stage.addEventListener(name, react);
        const drag = (event) => {
            const area = this.picture.area();
            const wipe = Math.min(1, Math.max(0, (event.clientX - area.left) / area.width));
            this.view = { ...this.view, wipe };
            this.draw();
        };
        on("pointerdown", (event) => {
            if (event.button !== 0 || !this.film) return;
            event.stopPropagation();
            stage.focus({ preventScroll: true });
            stage.setPointerCapture(event.pointerId);
            this.held = this.view.mode;
            if (this.held === "wipe") drag(event);
            if (this.held === "flip") this.flip(true);
        });
        on("pointermove", (event) => {
            if (this.held === "wipe") drag(event);
        });
        for (const name of ["pointerup", "pointercancel"])
            on(name, () => {
                if (this.held === "wipe") this.#change({});
                if (this.held === "flip") this.flip(false);
                this.held = null;
            });
    }
}

function isSeen(element) {
    return element.isConnected && (element.checkVisibility?.() ?? true);
}
