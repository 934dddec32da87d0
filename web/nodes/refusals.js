/**
 * What ComfyUI refused, and what cures it, stands on the node itself: no dialog has to be opened. An
 * app, which hides the nodes, says it over the page.
 *
 * It comes from ComfyUI's own answers: the errors of a graph that was not taken, and those of a run
 * that failed. It goes when the graph is taken again, or when something on the node is changed.
 */

import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";
import { sayInApp } from "../shared/app_messages.js";
import { findNode, isOurs, kindOf } from "../shared/our_nodes.js";
import { addBox, removeWidget } from "../shared/node_box.js";
import { REFUSAL, TEXT, keepSize, restoreSize, widgetOf } from "../shared/room.js";

const LOOK_MS = 150; // between two looks at what the frontend was answered
const WAIT_MS = 600_000; // an answer that takes longer is not waited for
const LETTER = 6.3; // width of a letter in pixels, on average
const LINE = 18;
const MOST_HEIGHT = 190;

/** Nodes with a refusal → what they held when it came, and whether it came of a run. */
const refused = new Map();
let looking = 0;

app.registerExtension({
    name: "SAMA.Refusals",
    setup() {
        api.addEventListener("promptQueueing", awaitAnswer);
        api.addEventListener("execution_start", () => clearAll(Boolean(nodeErrors())));
        api.addEventListener("execution_error", ({ detail }) => {
            refuse(detail.node_id, detail.node_type, detail.exception_message, true);
        });
        setInterval(clearChanged, 400);
    },
});

/** ComfyUI's answer to a graph has no event of its own: the frontend keeps what was wrong. */
function awaitAnswer() {
    clearInterval(looking);
    let before = nodeErrors();
    const until = Date.now() + WAIT_MS;
    looking = setInterval(() => {
        const errors = nodeErrors();
        if (Date.now() > until) clearInterval(looking);
        if (errors === before) return;
        before = errors;
        for (const [node, { ofRun }] of [...refused]) if (errors || !ofRun) clear(node);
        if (errors) clearInterval(looking);
        for (const [id, found] of Object.entries(errors ?? {})) {
            refuse(id, found.class_type, [...new Set(found.errors.map(explain))].join("\n"));
        }
    }, LOOK_MS);
}

function nodeErrors() {
    const errors = app.lastNodeErrors ?? app.extensionManager?.lastNodeErrors ?? {};
    return Object.keys(errors).length ? errors : null;
}

/**
 * An error's own words; ComfyUI's heading only where there are no others. What a node's own check
 * says comes once for each of its inputs, behind the input's name.
 */
function explain({ type, message, details }) {
    const own = type === "custom_validation_failed" && /^\w+ - (.+)$/s.exec(details);
    if (own) return own[1];
    return details ? (/^[\w ]+$/.test(details) ? `${message}: ${details}` : details) : message;
}

/**
 * Shows a message on the node of ours with this execution id and kind. Where another workflow was
 * opened meanwhile, a node with that id may be of another kind.
 */
function refuse(id, kind, message, ofRun = false) {
    const node = findNode(id);
    if (!isOurs(kind) || kindOf(node) !== kind) return;
    if (typeof node.addDOMWidget !== "function") return;
    clear(node);
    const text = String(message ?? "").trim();
    keepSize(node);
    const giveBack = keepText(node);
    const { element, widget } = addBox(node, REFUSAL, heightOf(text, node.size[0]));
    element.classList.add("sama-refusal");
    element.setAttribute("role", "alert");
    element.textContent = text;
    const takeBack = sayInApp(node, "error", text);
    refused.set(node, { widget, held: held(node), ofRun, takeBack, giveBack });
    node.setSize([node.size[0], Math.max(node.size[1], node.computeSize()[1])]);
    node.graph?.setDirtyCanvas?.(true, true);
}

/** A classic node shares its room out anew: the lines of a remark above the refusal stay whole. */
function keepText(node) {
    const remark = globalThis.LiteGraph?.vueNodesMode ? null : widgetOf(node, TEXT);
    if (!remark?.computedHeight) return null;
    const needed = heightOf(String(remark.value ?? "").trim(), node.size[0]);
    const minHeight = Math.min(remark.computedHeight, needed);
    remark.computeLayoutSize = () => ({ minHeight, minWidth: 1 });
    return () => delete remark.computeLayoutSize;
}

function heightOf(text, width) {
    const letters = Math.max(10, (width - 44) / LETTER);
    const lines = text
        .split("\n")
        .reduce((sum, line) => sum + Math.max(1, Math.ceil(line.length / letters)), 0);
    return Math.min(MOST_HEIGHT, lines * LINE + 18);
}

/** What a node's inputs hold, to see whether somebody has changed them. */
function held(node) {
    const values = (node.widgets ?? [])
        .filter((widget) => widget.serialize !== false)
        .map((widget) => [widget.name, widget.value]);
    return JSON.stringify([values, (node.inputs ?? []).map((input) => input.link)]);
}

function clearChanged() {
    for (const [node, { held: before }] of refused) if (held(node) !== before) clear(node);
}

/**
 * When a run begins. A graph may be taken in part: what is left out of the run says why until that
 * is cured.
 */
function clearAll(isInPart) {
    for (const [node, { ofRun }] of [...refused]) if (ofRun || !isInPart) clear(node);
}

function clear(node) {
    const shown = refused.get(node);
    if (!shown) return;
    refused.delete(node);
    shown.takeBack?.();
    shown.giveBack?.();
    removeWidget(node, shown.widget);
    restoreSize(node);
}
