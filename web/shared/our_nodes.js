/** Which nodes are ours, where they are, and hooks on them that leave earlier hooks alone. */

import { app } from "../../../scripts/app.js";

/** Whether a node, or a node type's name, is of this pack. */
export function isOurs(node) {
    const kind = typeof node === "string" ? node : kindOf(node);
    return typeof kind === "string" && kind.startsWith("SAMA");
}

/** The name of a node's type, such as "SAMAEdit". */
export function kindOf(node) {
    return node?.comfyClass ?? node?.type;
}

/** Calls `then` after what `object[name]` was, with the same `this` and arguments. */
export function chain(object, name, then) {
    const before = object[name];
    object[name] = function (...given) {
        const result = before?.apply(this, given);
        then.apply(this, given);
        return result;
    };
}

/** The node with an execution id: "5", or "3:5" for node 5 inside the subgraph node 3. */
export function findNode(executionId) {
    let graph = rootGraph();
    let node = null;
    for (const id of String(executionId ?? "").split(":")) {
        node = graph?.getNodeById(id) ?? graph?.getNodeById(Number(id)) ?? null;
        graph = node?.subgraph;
    }
    return node;
}

/** All nodes of this pack on the canvas, those inside of subgraphs too. */
export function ourNodes(graph = rootGraph(), seen = new Set()) {
    if (!graph || seen.has(graph)) return [];
    seen.add(graph);
    return graph.nodes.flatMap((node) => [
        ...(isOurs(node) ? [node] : []),
        ...(node.subgraph ? ourNodes(node.subgraph, seen) : []),
    ]);
}

/** What the frontend has of a node's last run: undo brings back a node from before that. */
export function lastOutput(node) {
    return app.nodeOutputs?.[placeOf(node)];
}

/** Under this name the frontend keeps outputs and previews of a node. */
export function placeOf({ graph, id }) {
    return graph && graph !== rootGraph() ? `${graph.id}:${id}` : String(id);
}

/** The graph that holds all others. */
export function rootGraph() {
    return app.rootGraph ?? app.graph;
}
