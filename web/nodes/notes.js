/**
 * Notes of our workflows have the colours of any node, and their links that of the text around them.
 *
 * On the brown of ComfyUI's notes links are hard to read, and so is the grey in which newer
 * frontends paint them in Nodes 2.0.
 */

import { app } from "../../../scripts/app.js";
import { chain, rootGraph } from "../shared/our_nodes.js";

/** The property of a note that came with one of our workflows. */
const OURS = "sama_note";

const sheet = new CSSStyleSheet();

app.registerExtension({
    name: "SAMA.Notes",
    setup() {
        document.adoptedStyleSheets.push(sheet);
        const notes = LiteGraph.registered_node_types.MarkdownNote;
        if (notes) chain(notes.prototype, "onConfigure", keepPlain);
    },
    afterConfigureGraph() {
        const notes = rootGraph().nodes.filter((node) => node.properties?.[OURS]);
        const links = notes.map(({ id }) => `[data-node-id="${id}"] .comfy-markdown-content a`);
        sheet.replaceSync(links.map((link) => `${link} { color: inherit; }`).join("\n"));
    },
});

/**
 * A node without colours is saved without them, and a new note is brown: undo, or opening a saved
 * workflow, would give ours that colour. A colour that somebody has chosen is saved, and stays.
 */
function keepPlain({ properties, color, bgcolor }) {
    if (!properties?.[OURS]) return;
    if (!color) this.color = "";
    if (!bgcolor) this.bgcolor = "";
}
