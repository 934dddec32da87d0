/**
 * A remark on a run stays in its node after the run, until a run of the node has none.
 *
 * Newer frontends take every text out of the nodes when a run ends, and older ones leave it. So a
 * remark that was taken out is handed to the frontend again, as ComfyUI's own text would be.
 * An app, which hides the nodes, says it over the page.
 *
 * A lost connection takes texts out, too, and ComfyUI may have been started again: then it knows of
 * no remark that it could end. One from before ends here when another run comes to its node.
 */

import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";
import { sayInApp } from "../shared/app_messages.js";
import { findNode, isOurs } from "../shared/our_nodes.js";
import { TEXT, widgetOf } from "../shared/room.js";

const EVENT = "sama.remarks";
const TEXT_EVENT = "progress_text";
const BLANK = " "; // the frontend ignores an empty text
const ENDS = ["execution_success", "execution_error", "execution_interrupted"];
const LOOKS_MS = [0, 150]; // after a run's end, or a lost connection: texts are taken out by then

/** Execution ids → {node, text, run, isOld, takeBack}: the remarks that hold. */
const remarks = new Map();
/** The id of the run that is under way, or was last. */
let latest;

app.registerExtension({
    name: "SAMA.Remarks",
    setup() {
        api.addEventListener(EVENT, ({ detail }) => keep(detail));
        for (const end of ENDS) api.addEventListener(end, showSoon);
        api.addEventListener("progress_state", ({ detail }) => endOld(detail));
        api.addEventListener("reconnecting", () => {
            for (const remark of remarks.values()) remark.isOld = true;
            showSoon();
        });
    },
});

/** What `show_remarks` in `sama_core/comfyui/node_progress.py` sends; an empty text ends a remark. */
function keep({ node, text }) {
    const shown = findNode(node);
    forget(node);
    if (!text || !isOurs(shown)) return;
    const takeBack = sayInApp(shown, "warning", text);
    remarks.set(node, { node: shown, text, run: latest, isOld: false, takeBack });
}

/** A node that another run comes to says anew what there is to remark. */
function endOld({ prompt_id: run, nodes }) {
    latest = run;
    for (const [id, remark] of [...remarks]) {
        if (!remark.isOld || remark.run === run || nodes?.[id]?.state !== "running") continue;
        forget(id);
        if (findNode(id) !== remark.node) continue;
        api.dispatchCustomEvent(TEXT_EVENT, { nodeId: id, text: BLANK });
    }
}

function forget(id) {
    remarks.get(id)?.takeBack?.();
    remarks.delete(id);
}

function showSoon() {
    for (const ms of LOOKS_MS) setTimeout(showAgain, ms);
}

/** Only in the very nodes that had them: another workflow may have others with the same ids. */
function showAgain() {
    for (const [id, { node, text }] of remarks) {
        if (findNode(id) !== node || widgetOf(node, TEXT)) continue;
        api.dispatchCustomEvent(TEXT_EVENT, { nodeId: id, text });
    }
}
