/** Inputs of nodes inside of subgraphs, seen from where their values and links come from. */

import { rootGraph } from "./our_nodes.js";
import { widgetOf } from "./room.js";

/** Whether a link decides an input. */
export function isLinked(node, name) {
    return inputOf(node, name)?.link != null;
}

/**
 * The control that decides an input: the node's own, or the one that the subgraph around it shows.
 *
 * @returns {{owner: object, widget: object} | null} null where another node decides, or nothing
 */
export function controlOf(node, name) {
    const input = inputOf(node, name);
    if (input?.link != null) {
        const shown = shownAs(node, input);
        return shown && controlOf(shown.holder, shown.name);
    }
    const widget = widgetOf(node, name);
    return widget ? { owner: node, widget } : null;
}

/** The node whose output an input has, also from outside of the subgraph; null without one. */
export function originOf(node, slot) {
    const shown = shownAs(node, node.inputs?.[slot]);
    if (!shown) return node.getInputNode?.(slot) ?? null;
    return originOf(shown.holder, shown.holder.inputs.indexOf(inputOf(shown.holder, shown.name)));
}

function inputOf(node, name) {
    return node?.inputs?.find((entry) => (entry.widget?.name ?? entry.name) === name);
}

/** As which input of which subgraph node an input is shown; null for any other, or for several. */
function shownAs(node, input) {
    const { graph } = node;
    const link = input?.link == null ? null : graph?.getLink?.(input.link);
    if (!link || !graph.inputNode || link.origin_id !== graph.inputNode.id) return null;
    const holders = holdersOf(graph);
    return holders.length === 1
        ? { holder: holders[0], name: graph.inputs[link.origin_slot].name }
        : null;
}

/** The nodes that stand for a subgraph, wherever they are. */
function holdersOf(subgraph, graph = rootGraph(), seen = new Set()) {
    if (!graph || seen.has(graph)) return [];
    seen.add(graph);
    return graph.nodes.flatMap((node) => [
        ...(node.subgraph === subgraph ? [node] : []),
        ...(node.subgraph ? holdersOf(subgraph, node.subgraph, seen) : []),
    ]);
}
