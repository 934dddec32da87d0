/** SAMA Drafts in ComfyUI: a sheet in every node of that kind, and what it keeps in the node. */

import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";
import { chain, lastOutput, rootGraph } from "../shared/our_nodes.js";
import { leavePlace, takePlace } from "../shared/place.js";
import { KEPT, ask, endAll, receive, stateOf } from "./runs.js";
import { stateFrom } from "./saved.js";
import { Sheet } from "./sheet.js";
import { addStyle } from "../shared/style.js";

const NODE = "SAMADrafts";
const EVENT = "sama.drafts";
const PICK = "pick";
const WIDGET = "sheet";
const SMALLEST = [540, 940];
const SMALLEST_HEIGHT = 320;
const ASK_AGAIN_MS = 2000;

/** @type {WeakMap<object, Sheet>} node → its sheet */
const sheets = new WeakMap();

app.registerExtension({
    name: "SAMA.Drafts",
    setup() {
        api.addEventListener(EVENT, ({ detail }) => take(detail));
        api.addEventListener("execution_interrupted", () => end("stopped"));
        api.addEventListener("execution_error", () => end("failed"));
        api.addEventListener("reconnecting", () => end("away"));
        api.addEventListener("reconnected", findOut);
    },
    nodeCreated(node) {
        if (node.constructor.comfyClass !== NODE) return;
        addStyle("drafts/drafts.css");
        addSheet(node);
    },
});

function addSheet(node) {
    const pick = node.widgets?.find((widget) => widget.name === PICK);
    const sheet = new Sheet(urlOf, (chosen) => {
        if (!pick) return;
        pick.value = chosen;
        pick.callback?.(chosen);
        node.graph?.setDirtyCanvas(true, true);
    });
    sheets.set(node, sheet);
    node.addDOMWidget(WIDGET, "SAMA_DRAFTS", sheet.element, {
        serialize: false,
        hideOnZoom: false,
        getMinHeight: () => SMALLEST_HEIGHT,
    });
    node.setSize([Math.max(node.size[0], SMALLEST[0]), Math.max(node.size[1], SMALLEST[1])]);
    if (pick) chain(pick, "callback", (value) => sheet.mark(value));
    chain(node, "onExecuted", (output) => {
        const state = output?.[KEPT]?.[0];
        if (!state) return;
        show(node, receive({ workflow: rootGraph().id, node: executionId(node), state }).state);
    });
    chain(node, "onConfigure", () => {
        const saved = stateFrom(node.properties?.[KEPT] ?? lastOutput(node)?.[KEPT]?.[0]);
        if (saved) show(node, saved);
        setTimeout(() => catchUp(node));
    });
    chain(node, "onAdded", () => takePlace(node, WIDGET, sheet.element));
    chain(node, "onRemoved", () => {
        leavePlace(node, WIDGET, sheet.element);
        sheet.release();
    });
}

/** Show a state, and keep it in the node. */
function show(node, state) {
    const sheet = sheets.get(node);
    node.properties[KEPT] = state;
    sheet.show(state);
    sheet.mark(node.widgets.find((widget) => widget.name === PICK)?.value);
}

/** A message about a node's drafts, from a run of this page. */
function take(message) {
    const { state, drawn } = receive(message);
    const node = shownNode(message);
    if (!node) return;
    if (!drawn || node.properties[KEPT] !== state) show(node, state);
    else sheets.get(node).update(drawn);
}

/** A node that was just loaded: what its run has sent while another workflow was shown. */
function catchUp(node) {
    const state = node.graph && stateOf(rootGraph()?.id, executionId(node));
    if (state) show(node, state);
}

function end(stage) {
    endAll(stage);
    for (const [, node] of draftNodes(rootGraph())) sheets.get(node).update();
}

/** What runs have done while the connection to ComfyUI was lost. */
async function findOut() {
    if (!(await ask())) setTimeout(findOut, ASK_AGAIN_MS);
    for (const [, node] of draftNodes(rootGraph())) catchUp(node);
}

/** The node of a message, unless its workflow is not the one that is shown. */
function shownNode({ workflow, node }) {
    const root = rootGraph();
    if (workflow && root?.id !== workflow) return null;
    return draftNodes(root).find(([id]) => id === node)?.[1] ?? null;
}

/**
 * Every SAMA Drafts of a graph, those in its subgraphs too, with its id in a run: a node's own id
 * behind those of the subgraphs around it.
 * @returns {[string, object][]}
 */
function draftNodes(graph, inside = "") {
    const found = [];
    for (const node of graph?.nodes ?? []) {
        const id = `${inside}${node.id}`;
        if (node.subgraph) found.push(...draftNodes(node.subgraph, `${id}:`));
        if (sheets.has(node)) found.push([id, node]);
    }
    return found;
}

function executionId(node) {
    return draftNodes(rootGraph()).find(([, one]) => one === node)?.[0];
}

function urlOf({ filename, subfolder = "", type = "temp" }) {
    return api.apiURL(`/view?${new URLSearchParams({ filename, subfolder, type })}`);
}
