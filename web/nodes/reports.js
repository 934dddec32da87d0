/**
 * Reports stand in the node that made them, as ComfyUI shows a picture in the node that made it.
 *
 * Every node of this pack with an output `report` has a box for it. The last report is one of the
 * node's properties, so it is saved with the workflow and is still there when the page is loaded
 * again.
 */

import { app } from "../../../scripts/app.js";
import { chain, isOurs } from "../shared/our_nodes.js";
import { CHOICES, showChoices } from "../plan/choices.js";
import { noticeChange } from "../shared/changes.js";
import { addBox } from "../shared/node_box.js";
import { keepPlace } from "../shared/place.js";
import { fillReport } from "../shared/report_text.js";
import { translatable, translate } from "../shared/words.js";

const PROPERTY = "sama_report";
const HEIGHT = 120; // of a report's box in a new node, in pixels
/** The least height of a box, where it is not HEIGHT; that of scores shows all three of them. */
const LEAST = { SAMASegmentStore: 56, SAMALoadLora: 56, SAMAClipFolder: 56, SAMAScores: 232 };
const WIDTH = 340; // of a new node
const MOST = 20_000; // characters that are kept
const HINT = translatable("The report appears here when the node has run.");

app.registerExtension({
    name: "SAMA.Reports",
    beforeRegisterNodeDef(nodeType, nodeData) {
        if (!isOurs(nodeData.name) || !nodeData.output_name?.includes("report")) return;
        chain(nodeType.prototype, "onNodeCreated", function () {
            const least = LEAST[nodeData.name] ?? HEIGHT;
            this.samaReport = addBox(this, PROPERTY, least).element;
            this.samaReport.setAttribute("role", "group");
            this.samaReport.setAttribute("aria-label", translate("Report"));
            keepPlace(this, PROPERTY, this.samaReport);
            const height = this.computeSize()[1] + HEIGHT - least;
            this.setSize([Math.max(this.size[0], WIDTH), height]);
            show(this);
        });
        chain(nodeType.prototype, "onConfigure", function () {
            show(this);
        });
        chain(nodeType.prototype, "onExecuted", function (output) {
            const text = (output?.[PROPERTY] ?? output?.text)?.[0];
            if (typeof text === "string") keep(this, text, output?.[CHOICES]);
        });
    },
});

/** Keeps a report with the node, and the choices that belong to it. */
function keep(node, text, choices) {
    const kept = text.slice(0, MOST);
    const changed = node.properties[PROPERTY] !== kept;
    node.properties[PROPERTY] = kept;
    if (choices?.length) node.properties[CHOICES] = choices;
    else delete node.properties[CHOICES];
    show(node);
    if (changed) noticeChange();
}

function show(node) {
    const text = node.properties?.[PROPERTY];
    if (!node.samaReport) return;
    if (text) {
        fillReport(node.samaReport, String(text));
        const choices = node.properties[CHOICES];
        if (Array.isArray(choices)) node.samaReport.prepend(showChoices(node, choices));
        return;
    }
    const hint = document.createElement("div");
    hint.className = "sama-hint";
    hint.textContent = translate(HINT);
    node.samaReport.replaceChildren(hint);
}
