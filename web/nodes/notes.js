/**
 * Links in the notes of our workflows have the colour of the text around them, and are underlined.
 *
 * Newer frontends paint them in a grey that is hard to read in Nodes 2.0.
 */

import { app } from "../../../scripts/app.js";
import { rootGraph } from "../shared/our_nodes.js";

/** The property of a note that came with one of our workflows. */
const OURS = "sama_note";

const sheet = new CSSStyleSheet();

app.registerExtension({
    name: "SAMA.Notes",
    setup() {
        document.adoptedStyleSheets.push(sheet);
    },
    afterConfigureGraph() {
        const notes = rootGraph().nodes.filter((node) => node.properties?.[OURS]);
        const links = notes.map(({ id }) => `[data-node-id="${id}"] .comfy-markdown-content a`);
        sheet.replaceSync(links.map((link) => `${link} { color: inherit; }`).join("\n"));
    },
});
