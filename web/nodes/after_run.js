/**
 * When a run has ended, was cancelled or has failed, the stage text and the live preview leave our
 * nodes, and the room that they took is given back: the node has its place in the layout again.
 */

import { app } from "../../../scripts/app.js"
import { api } from "../../../scripts/api.js"
import { findNode, isOurs, ourNodes } from "../shared/our_nodes.js"
import { removeWidget } from "../shared/node_box.js"
import { REFUSAL, keepSize, restoreSize } from "../shared/room.js"

const TEXT = "$$node-text-preview"
const PICTURE = "$$canvas-image-preview"
const ENDS = ["execution_success", "execution_error", "execution_interrupted"]

app.registerExtension({
    name: "SAMA.AfterRun",
    setup() {
        api.addEventListener("progress_state", ({ detail }) => keepSizes(detail.nodes))
        for (const end of ENDS) api.addEventListener(end, () => setTimeout(tidyAll, 0))
        api.addEventListener("reconnecting", () => ourNodes().forEach(node => tidy(node, true)))
    },
})

/** A node's size when it begins, before ComfyUI adds text and preview. */
function keepSizes(states) {
    for (const [id, { state, display_node_id: shown }] of Object.entries(states ?? {})) {
        const node = state === "running" ? findNode(shown ?? id) : null
        if (isOurs(node)) keepSize(node)
    }
}

function tidyAll() {
    for (const node of ourNodes()) tidy(node, false)
}

/** Takes what the run left out of a node; `silent` texts too, which a lost server cannot blank. */
function tidy(node, silent) {
    const text = widgetOf(node, TEXT)
    if (text && (silent || !String(text.value ?? "").trim())) removeWidget(node, text)
    const picture = widgetOf(node, PICTURE)
    if (picture && !shownOutputs(node)) {
        node.imgs = undefined
        removeWidget(node, picture)
    }
    if (![TEXT, PICTURE, REFUSAL].some(name => widgetOf(node, name))) restoreSize(node)
}

function widgetOf(node, name) {
    return node.widgets?.find(widget => widget.name === name)
}

/** Whether the node shows pictures that are its output, as SAMA Scores does its plot. */
function shownOutputs(node) {
    return Boolean(node.images?.length)
}
