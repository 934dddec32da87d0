/**
 * The pictures that a node of ours made take the place of its live preview.
 *
 * SAMA Anchor Preview samples and has a sheet to show. The frontend shows a node's last preview
 * before the pictures of its output, until the page is loaded again: so the first of these becomes
 * the last preview.
 */

import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";
import { findNode, isOurs, placeOf } from "../shared/our_nodes.js";

const PREVIEW = "b_preview_with_metadata";
/** Nodes 2.0 draws the preview, and above it what it showed of the output before that was replaced. */
const sheet = new CSSStyleSheet();
const done = new Set();

app.registerExtension({
    name: "SAMA.SheetAfterPreview",
    setup() {
        document.adoptedStyleSheets.push(sheet);
        api.addEventListener("executed", ({ detail }) => replacePreview(detail));
        api.addEventListener("progress_state", ({ detail }) => {
            for (const [id, { state, display_node_id: shown }] of Object.entries(
                detail.nodes ?? {},
            ))
                if (state === "running" && done.delete(String(shown ?? id))) hideDone();
        });
    },
});

async function replacePreview({ node, display_node: shown, output }) {
    const id = String(shown ?? node);
    const [picture] = output?.images ?? [];
    const made = findNode(id);
    if (!picture || !isOurs(made) || !app.nodePreviewImages?.[placeOf(made)]?.length) return;
    const reply = await fetch(api.apiURL(`/view?${new URLSearchParams(picture)}`));
    if (!reply.ok) return;
    done.add(id);
    hideDone();
    const blob = await reply.blob();
    api.dispatchCustomEvent(PREVIEW, { blob, nodeId: id, realNodeId: id, displayNodeId: id });
    app.canvas?.setDirty(true, true);
}

function hideDone() {
    const rules = [...done].map(
        (id) => `[data-node-id="${id.split(":").at(-1)}"] .image-preview { display: none; }`,
    );
    sheet.replaceSync(rules.join("\n"));
}
