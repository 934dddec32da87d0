/**
 * A remark on a run stays in its node after the run, until a run of the node has none.
 *
 * Newer frontends take every text out of the nodes when a run ends, and older ones leave it. So a
 * remark that was taken out is handed to the frontend again, as ComfyUI's own text would be.
 * An app, which hides the nodes, says it over the page.
 */

import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";
import { sayInApp } from "../shared/app_messages.js";
import { findNode, isOurs } from "../shared/our_nodes.js";
import { TEXT, widgetOf } from "../shared/room.js";

const EVENT = "sama.remarks";
const TEXT_EVENT = "progress_text";
const ENDS = ["execution_success", "execution_error", "execution_interrupted"];
const LOOKS_MS = [0, 150]; // after a run's end: the frontend takes texts out in this time

/** Execution ids → {node, text, takeBack}: the remarks that hold. */
const remarks = new Map();

app.registerExtension({
    name: "SAMA.Remarks",
    setup() {
        api.addEventListener(EVENT, ({ detail }) => keep(detail));
        for (const end of ENDS) {
            api.addEventListener(end, () => LOOKS_MS.forEach((ms) => setTimeout(showAgain, ms)));
        }
        api.addEventListener("reconnecting", () => [...remarks.keys()].forEach(forget));
    },
});

/** What `show_remarks` in `sama_core/comfyui/node_progress.py` sends; an empty text ends a remark. */
function keep({ node, text }) {
    const shown = findNode(node);
    forget(node);
    if (!text || !isOurs(shown)) return;
    remarks.set(node, { node: shown, text, takeBack: sayInApp(shown, "warning", text) });
}

function forget(id) {
    remarks.get(id)?.takeBack?.();
    remarks.delete(id);
}

/** Only in the very nodes that had them: another workflow may have others with the same ids. */
function showAgain() {
    for (const [id, { node, text }] of remarks) {
        if (findNode(id) !== node || widgetOf(node, TEXT)) continue;
        api.dispatchCustomEvent(TEXT_EVENT, { nodeId: id, text });
    }
}
