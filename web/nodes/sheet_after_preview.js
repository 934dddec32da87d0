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
import { NodeRules } from "../shared/node_rules.js";

const PREVIEW = "b_preview_with_metadata";
/** Nodes 2.0 draws the preview, and above it what it showed of the output before that was replaced. */
const done = new NodeRules((node) => `${node} .image-preview { display: none; }`);

app.registerExtension({
    name: "SAMA.SheetAfterPreview",
    setup() {
        done.attach();
        api.addEventListener("executed", ({ detail }) => replacePreview(detail));
        api.addEventListener("progress_state", ({ detail }) => {
            for (const [id, { state, display_node_id: shown }] of Object.entries(
                detail.nodes ?? {},
            )) {
                const node = state === "running" ? findNode(shown ?? id) : null;
                if (node) done.drop(node);
            }
        });
    },
    afterConfigureGraph() {
        done.refresh();
    },
});

async function replacePreview({ node, display_node: shown, output }) {
    const id = String(shown ?? node);
    const [picture] = output?.images ?? [];
    const made = findNode(id);
    if (!picture || !isOurs(made) || !app.nodePreviewImages?.[placeOf(made)]?.length) return;
    const reply = await fetch(api.apiURL(`/view?${new URLSearchParams(picture)}`));
    if (!reply.ok) return;
    done.set(made, true);
    const blob = await reply.blob();
    api.dispatchCustomEvent(PREVIEW, { blob, nodeId: id, realNodeId: id, displayNodeId: id });
    app.canvas?.setDirty(true, true);
}
