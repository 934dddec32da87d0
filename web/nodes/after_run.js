/**
 * A running node keeps its place in the layout.
 *
 * ComfyUI adds a line of text and a live preview to a running node. In our nodes the preview takes
 * the room that the node has to spare. A node with too little grows for the time of the run. When
 * that has ended, was cancelled or has failed, text, preview and growth are gone.
 */

import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";
import { chain, findNode, isOurs, ourNodes, placeOf } from "../shared/our_nodes.js";
import { removeWidget } from "../shared/node_box.js";
import { NodeRules } from "../shared/node_rules.js";
import { REFUSAL, TEXT, keepSize, keptHeight, restoreSize, widgetOf } from "../shared/room.js";

const PICTURE = "$$canvas-image-preview";
const ENDS = ["execution_success", "execution_error", "execution_interrupted"];
const LEAST = 64; // pixels of a preview's height
const ROOMY = ["SAMAEdit", "SAMALongEdit", "SAMAEditWholeVideo"];
const ROOM = 190; // pixels that a new one of these has for text and preview
const DRAWN_MS = 300; // the frontend has drawn a change of a node by then

/** Nodes 2.0 draws previews by itself, and keeps the last one: what ours do is said in CSS. */
const rules = new NodeRules((node, works) => {
    const picture = `${node} img.contain-size`;
    return works
        ? `${picture} { min-height: ${LEAST}px !important; }`
        : `${picture}, ${picture} + div { display: none; }`;
});

app.registerExtension({
    name: "SAMA.AfterRun",
    beforeRegisterNodeDef(nodeType, nodeData) {
        // An output node shows pictures of its own there, except for the sheet of drafts.
        if (!isOurs(nodeData.name)) return;
        if (nodeData.output_node && nodeData.name !== "SAMADrafts") return;
        chain(nodeType.prototype, "onNodeCreated", function () {
            this.samaGivesWay = true;
            chain(this, "addCustomWidget", (widget) => giveWay(this, widget));
            if (ROOMY.includes(nodeData.name)) {
                this.setSize([Math.max(this.size[0], 400), this.computeSize()[1] + ROOM]);
            }
        });
    },
    setup() {
        rules.attach();
        api.addEventListener("progress_state", ({ detail }) => keepSizes(detail.nodes));
        for (const end of ENDS) api.addEventListener(end, () => tidyAll(false));
        api.addEventListener("reconnecting", () => tidyAll(true));
    },
    afterConfigureGraph() {
        rules.refresh();
    },
});

/** Limits a preview that is added to a node to the room that the node has to spare. */
function giveWay(node, widget) {
    if (widget?.name !== PICTURE) return;
    let height = 0;
    widget.computeLayoutSize = () => ({ minHeight: height, minWidth: 1 });
    height = Math.max(LEAST, (keptHeight(node) ?? node.size[1]) - node.computeSize()[1]);
}

/** A node's size when it begins, before ComfyUI adds text and preview. */
function keepSizes(states) {
    for (const [id, { state, display_node_id: shown }] of Object.entries(states ?? {})) {
        const node = state === "running" ? findNode(shown ?? id) : null;
        if (!isOurs(node) || keptHeight(node)) continue;
        keepSize(node);
        if (node.samaGivesWay) rules.set(node, true);
    }
}

/** Takes out of our nodes what a run has left; `lost`: also text that a lost server cannot blank. */
function tidyAll(lost) {
    setTimeout(() => ourNodes().forEach((node) => tidy(node, lost)), 0);
    setTimeout(() => ourNodes().forEach(giveRoomBack), DRAWN_MS);
}

function tidy(node, lost) {
    const text = widgetOf(node, TEXT);
    if (text && (lost || !String(text.value ?? "").trim())) removeWidget(node, text);
    const picture = widgetOf(node, PICTURE);
    if (picture && !node.images?.length) {
        node.imgs = undefined;
        removeWidget(node, picture);
    }
    if (node.samaGivesWay && !node.images?.length) forgetPreview(node);
    if (rules.get(node)) rules.set(node, false);
}

/** A graph that an app has hidden would draw the run's last preview when it is shown again. */
function forgetPreview(node) {
    if (app.nodePreviewImages) delete app.nodePreviewImages[placeOf(node)];
}

/** Not while the next run is at work in the node, nor while a refusal stands there. */
function giveRoomBack(node) {
    if (![TEXT, PICTURE, REFUSAL].some((name) => widgetOf(node, name))) restoreSize(node);
}
