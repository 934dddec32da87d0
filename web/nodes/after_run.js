/**
 * A running node keeps its place in the layout.
 *
 * ComfyUI adds a line of text and a live preview to a running node. In our nodes the preview takes
 * the room that the node has to spare. What is too little grows for the time of the run, and when
 * it has ended, was cancelled or has failed, text, preview and growth are gone.
 */

import { app } from "../../../scripts/app.js"
import { api } from "../../../scripts/api.js"
import { chain, findNode, isOurs, ourNodes } from "../shared/our_nodes.js"
import { removeWidget } from "../shared/node_box.js"
import { REFUSAL, keepSize, keptHeight, restoreSize } from "../shared/room.js"

const TEXT = "$$node-text-preview"
const PICTURE = "$$canvas-image-preview"
const ENDS = ["execution_success", "execution_error", "execution_interrupted"]
const LEAST = 110 // pixels of a preview's height
const REVOKED_MS = 700 // Nodes 2.0 takes a preview away this long after the end at most

const small = new CSSStyleSheet() // Nodes 2.0: previews that give way

app.registerExtension({
    name: "SAMA.AfterRun",
    beforeRegisterNodeDef(nodeType, nodeData) {
        // An output node shows pictures of its own there; it has the room for them.
        if (!isOurs(nodeData.name) || nodeData.output_node) return
        chain(nodeType.prototype, "onNodeCreated", function () {
            this.samaGivesWay = true
            chain(this, "addCustomWidget", widget => giveWay(this, widget))
        })
    },
    setup() {
        document.adoptedStyleSheets.push(small)
        api.addEventListener("progress_state", ({ detail }) => keepSizes(detail.nodes))
        for (const end of ENDS) api.addEventListener(end, () => tidyAll(false))
        api.addEventListener("reconnecting", () => tidyAll(true))
    },
})

/** Limits a preview that is added to a node to the room that the node has to spare. */
function giveWay(node, widget) {
    if (widget?.name !== PICTURE) return
    let height = 0
    widget.computeLayoutSize = () => ({ minHeight: height, minWidth: 1 })
    height = Math.max(LEAST, (keptHeight(node) ?? node.size[1]) - node.computeSize()[1])
}

/** A node's size when it begins, before ComfyUI adds text and preview. */
function keepSizes(states) {
    for (const [id, { state, display_node_id: shown }] of Object.entries(states ?? {})) {
        const node = state === "running" ? findNode(shown ?? id) : null
        if (!isOurs(node) || keptHeight(node)) continue
        keepSize(node)
        if (node.samaGivesWay) limitInNodes2(node)
    }
}

function limitInNodes2(node) {
    const rule = `[data-node-id="${node.id}"] img.contain-size`
    if ([...small.cssRules].some(known => known.selectorText === rule)) return
    small.insertRule(`${rule} { min-height: ${LEAST}px !important; }`)
}

/** Takes out of our nodes what a run has left; `lost`: also text that a lost server cannot blank. */
function tidyAll(lost) {
    setTimeout(() => ourNodes().forEach(node => tidy(node, lost)), 0)
    setTimeout(() => ourNodes().forEach(giveRoomBack), REVOKED_MS)
}

function tidy(node, lost) {
    const text = widgetOf(node, TEXT)
    if (text && (lost || !String(text.value ?? "").trim())) removeWidget(node, text)
    const picture = widgetOf(node, PICTURE)
    if (picture && !node.images?.length) {
        node.imgs = undefined
        removeWidget(node, picture)
    }
}

/** Not while the next run is at work in the node, nor while a refusal stands there. */
function giveRoomBack(node) {
    if (![TEXT, PICTURE, REFUSAL].some(name => widgetOf(node, name))) restoreSize(node)
}

function widgetOf(node, name) {
    return node.widgets?.find(widget => widget.name === name)
}
