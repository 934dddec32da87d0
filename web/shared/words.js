/**
 * The canvas's own words, of buttons and fixed sentences, in the frontend's language.
 *
 * Their translations are in `locales/LANGUAGE/texts.json`, under `canvas`, and ComfyUI hands them
 * out with those of the nodes. Without one, a text is English.
 */

import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";

/** English → the frontend's language. */
let known = {};

app.registerExtension({
    name: "SAMA.Words",
    /** Awaited by the frontend: no node is made before. */
    async init() {
        const language = app.extensionManager?.setting?.get("Comfy.Locale") ?? "en";
        if (language === "en") return;
        try {
            const all = await (await api.fetchApi("/i18n")).json();
            known = all[language]?.samaCanvas ?? {};
        } catch (error) {
            console.warn("SAMA: its words on the canvas stay English:", error);
        }
    },
});

/** Marks a text that is translated where it is shown. */
export function translatable(english) {
    return english;
}

/**
 * A text in the frontend's language.
 *
 * @param {string} english with `%name%` for what `values` has under that name
 * @param {Object<string, string | number>} values
 */
export function translate(english, values = {}) {
    const text = known[english] ?? english;
    return text.replace(/%(\w+)%/g, (whole, name) => values[name] ?? whole);
}
