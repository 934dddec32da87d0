/** Keeps a node's place in the layout: what grows it for a while gives the room back. */

/** The name of the widget that shows a refusal; while it is there, a node needs its room. */
export const REFUSAL = "sama_refusal";

/** The name of the widget in which the frontend shows text of a run. */
export const TEXT = "$$node-text-preview";

const kept = new WeakMap();

/** Remembers a node's size, unless one is remembered already. */
export function keepSize(node) {
    if (!kept.has(node)) kept.set(node, [node.size[0], node.size[1]]);
}

/** The height that is remembered of a node, or undefined. */
export function keptHeight(node) {
    return kept.get(node)?.[1];
}

/** Gives a node the size that was kept; not where somebody has changed its width meanwhile. */
export function restoreSize(node) {
    const size = kept.get(node);
    kept.delete(node);
    if (!size || Math.abs(node.size[0] - size[0]) > 1 || node.size[1] <= size[1]) return;
    node.setSize(size);
    node.graph?.setDirtyCanvas?.(true, true);
}

/** A node's widget of this name, or undefined. */
export function widgetOf(node, name) {
    return node?.widgets?.find((widget) => widget.name === name);
}
