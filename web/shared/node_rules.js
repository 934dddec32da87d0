/**
 * Rules of CSS for single nodes of ours in Nodes 2.0, which draws them by itself.
 *
 * The page names a node by its id alone, and other graphs, workflows and packs have nodes with the
 * same id. So a rule is in force only while its own node's graph is on the canvas.
 */

import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";
import { isOurs, placeOf, rootGraph } from "./our_nodes.js";

export class NodeRules {
    /** @param {(node: string, value: any) => string} write rules for what `node` selects */
    constructor(write) {
        this.write = write;
        this.sheet = new CSSStyleSheet();
        /** Workflow and place → value; undo brings another node to the same place. */
        this.values = new Map();
    }

    /** Begin to work; call it in an extension's `setup`, and `refresh` in `afterConfigureGraph`. */
    attach() {
        document.adoptedStyleSheets.push(this.sheet);
        app.canvas?.canvas?.addEventListener("litegraph:set-graph", () => this.refresh());
        api.addEventListener("graphCleared", () => this.refresh());
    }

    get(node) {
        return this.values.get(keyOf(node));
    }

    set(node, value) {
        this.values.set(keyOf(node), value);
        this.refresh();
    }

    /** Ends a node's rules. */
    drop(node) {
        if (this.values.delete(keyOf(node))) this.refresh();
    }

    /** Puts the rules of the nodes in force that the canvas shows. */
    refresh() {
        const shown = (app.canvas?.graph?.nodes ?? []).filter(
            (node) => isOurs(node) && this.values.has(keyOf(node)),
        );
        const rules = shown.map((node) =>
            this.write(`[data-node-id="${node.id}"]`, this.get(node)),
        );
        this.sheet.replaceSync(rules.join("\n"));
    }
}

function keyOf(node) {
    return `${rootGraph()?.id}/${placeOf(node)}`;
}
