/** What is heard: the sound of one of the two clips, kept in step with the film, or none. */

/** Seconds that sound may be apart from the picture before it is put right. */
const APART = 0.08;

export class FilmSound {
    /**
     * @param {import("./film.js").Film} film
     * @param {(file: object) => string} urlOf the address of a file
     */
    constructor(film, urlOf) {
        this.film = film;
        this.urlOf = urlOf;
        this.side = "none";
        this.audio = null;
    }

    /** Hear "source", "edit" or "none"; a clip without sound is silent. */
    choose(side) {
        if (side === this.side) return;
        this.release();
        this.side = side;
        const file = this.film.data.sounds?.[side];
        if (!file) return;
        this.audio = document.createElement("audio");
        this.audio.preload = "auto";
        this.audio.src = this.urlOf(file);
        this.follow();
    }

    /** Do as the film does now. */
    follow() {
        if (!this.audio) return;
        const { video, playing } = this.film;
        this.audio.playbackRate = video.playbackRate;
        if (!playing) {
            this.audio.pause();
            return;
        }
        if (Math.abs(this.audio.currentTime - video.currentTime) > APART)
            this.audio.currentTime = video.currentTime;
        if (this.audio.paused && !this.audio.ended) this.audio.play().catch(() => {});
    }

    release() {
        this.audio?.pause();
        this.audio?.removeAttribute("src");
        this.audio?.load();
        this.audio = null;
        this.side = "none";
    }
}
