/**
 * An app hides the graph, and with it what stands on its nodes: there it is said over the page.
 */

import { app } from "../../../scripts/app.js";

/** What frontends before 1.58 call a severity. */
const OLDER = { warning: "warn" };

/**
 * Says something about a node where the graph is hidden; nothing where the node can be seen.
 *
 * @param {object} node the node it is about
 * @param {"warning" | "error"} severity
 * @param {string} text
 * @returns {(() => void) | null} takes it back, unless somebody has closed it
 */
export function sayInApp(node, severity, text) {
    if (app.canvasEl?.checkVisibility({ visibilityProperty: true }) ?? true) return null;
    return sayOverPage(node.title, severity, text);
}

/**
 * Says something over the page until it is taken back or closed.
 *
 * @param {string} title
 * @param {"warning" | "error"} severity
 * @param {string} text
 * @returns {(() => void) | null} takes it back, unless somebody has closed it
 */
export function sayOverPage(title, severity, text) {
    const { toast } = app.extensionManager ?? {};
    if (!toast) return null;
    if (toast.dismiss) {
        const id = toast[severity](title, { description: text });
        return () => toast.dismiss(id);
    }
    const name = OLDER[severity] ?? severity;
    const message = { severity: name, summary: title, detail: text };
    toast.add(message);
    return () => toast.remove?.(message);
}
