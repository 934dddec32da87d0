/**
 * An element keeps its place on the page in Nodes 2.0 when undo, redo or another tab loads a graph
 * with a node of the same id.
 *
 * The frontend then goes on with the HTML of the node that is gone, and with that node's element.
 */

import { app } from "../../../scripts/app.js";
import { chain, placeOf } from "./our_nodes.js";

/** When to look whether the frontend has drawn the loaded graph; a busy computer takes seconds. */
const LOOK_MS = [0, 300, 1000, 3000, 8000];
/** Graph, node and widget → what held the element of the node that was removed last. */
const left = new Map();

/** An element of a new node keeps its place for as long as the node is there. */
export function keepPlace(node, name, element) {
    chain(node, "onAdded", () => takePlace(node, name, element));
    chain(node, "onRemoved", () => leavePlace(node, name, element));
}

/** Remembers what holds an element; call it in `onRemoved`, before the element is taken out. */
export function leavePlace(node, name, element) {
    if (element.parentElement) left.set(keyOf(node, name), new WeakRef(element.parentElement));
}

/** Puts an element where that of an earlier node with the same id was; call it in `onAdded`. */
export function takePlace(node, name, element) {
    if (!left.has(keyOf(node, name))) return;
    for (const pause of LOOK_MS) setTimeout(() => settle(node, name, element), pause);
}

function settle(node, name, element) {
    if (element.isConnected || !globalThis.LiteGraph?.vueNodesMode) return;
    if (!node.graph || node.graph !== app.canvas?.graph) return;
    const place = left.get(keyOf(node, name))?.deref();
    if (place?.isConnected) place.replaceChildren(element);
}

function keyOf(node, name) {
    return `${placeOf(node)}/${name}`;
}
