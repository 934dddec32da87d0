/** Boxes of HTML in nodes: scrollable, and their text can be selected. */

import { app } from "../../../scripts/app.js";
import { isOfTheApplication } from "./keys.js";

const SHEET = new CSSStyleSheet();
SHEET.replaceSync(`
.sama-box {
    container-type: size; box-sizing: border-box; overflow: auto;
    min-height: var(--sama-box-height);
    width: 100%; padding: 6px 8px; border-radius: 6px; cursor: text;
    background: var(--comfy-input-bg, #222); color: var(--input-text, #ddd);
    border: 1px solid var(--border-color, #4e4e4e);
    font: 12px/1.45 system-ui, sans-serif; user-select: text; -webkit-user-select: text;
    overflow-wrap: anywhere; white-space: pre-wrap; text-align: left;
}
.sama-box:focus { outline: 1px solid var(--p-primary-color, #60a5fa); }
.sama-box table { border-collapse: collapse; margin: 4px 0; white-space: normal; width: 100%; }
.sama-box td {
    border-top: 1px solid var(--border-color, #4e4e4e); padding: 2px 8px 2px 0;
    vertical-align: top; overflow-wrap: normal; font-variant-numeric: tabular-nums;
}
@container (max-width: 400px) {
    .sama-box tr:has(.sama-words) {
        display: block; border-top: 1px solid var(--border-color, #4e4e4e);
    }
    .sama-box tr:has(.sama-words) td { display: inline-block; border: 0; padding-bottom: 0; }
    .sama-box tr td.sama-words { display: block; padding: 0 0 2px; }
}
@container (max-width: 250px) {
    .sama-box td { display: block; border: 0; overflow-wrap: anywhere; }
    .sama-box tr { display: block; border-top: 1px solid var(--border-color, #4e4e4e); }
}
.sama-box .sama-key { font-weight: 600; }
.sama-box .sama-hint { opacity: 0.6; }
.sama-box .sama-copy {
    position: sticky; top: 0; float: right; margin-left: 8px; padding: 1px 8px; cursor: pointer;
    font: inherit; font-size: 11px; border-radius: 4px; color: inherit;
    background: var(--comfy-menu-bg, #353535); border: 1px solid var(--border-color, #4e4e4e);
}
.sama-box.sama-refusal {
    border: 2px solid var(--error-text, #ff4444); background: var(--comfy-menu-bg, #353535);
}
`);

/**
 * Adds a box to a node. Nothing of it is saved or queued.
 *
 * @param {object} node the node
 * @param {string} name the widget's name
 * @param {number} height the least height in pixels; the box takes more where the node has more
 * @returns {{element: HTMLElement, widget: object}}
 */
export function addBox(node, name, height) {
    if (!document.adoptedStyleSheets.includes(SHEET)) document.adoptedStyleSheets.push(SHEET);
    const element = document.createElement("div");
    element.className = "sama-box";
    element.tabIndex = 0;
    element.style.setProperty("--sama-box-height", `${height}px`);
    element.dataset.captureWheel = "true"; // Nodes 2.0 leaves the wheel to it while it has focus
    element.addEventListener("wheel", passWheel, { passive: false });
    element.addEventListener("keydown", (event) => {
        if (!isOfTheApplication(event)) event.stopPropagation();
    });
    element.addEventListener("copy", (event) => event.stopPropagation());
    const widget = node.addDOMWidget(name, name, element, {
        serialize: false,
        hideOnZoom: false,
        getMinHeight: () => height + 8,
        getValue: () => "",
        setValue: () => {},
        margin: 6,
    });
    widget.serialize = false;
    return { element, widget };
}

/** Takes a widget out of a node again. */
export function removeWidget(node, widget) {
    const place = node.widgets?.indexOf(widget) ?? -1;
    if (place < 0) return;
    if (typeof node.removeWidget === "function") node.removeWidget(widget);
    else {
        widget.onRemove?.();
        node.widgets.splice(place, 1);
    }
    node.graph?.setDirtyCanvas?.(true, true);
}

/** The wheel scrolls the box while there is something to scroll, else it is the canvas's. */
function passWheel(event) {
    const box = event.currentTarget;
    const room = box.scrollHeight - box.clientHeight;
    const scrolls = event.deltaY < 0 ? box.scrollTop > 0 : box.scrollTop < room - 1;
    if (!event.ctrlKey && scrolls) {
        event.stopPropagation();
        return;
    }
    event.preventDefault();
    event.stopPropagation();
    app.canvas?.canvas?.dispatchEvent(new WheelEvent("wheel", event));
}
