/**
 * What runs of this page have sent, by workflow and node. A workflow in another tab of the page is
 * not loaded while its run goes on: its node takes the state from here when it is shown again.
 */

/** @type {Map<string, import("./sheet.js").SheetState>} */
const states = new Map();

/** @returns {import("./sheet.js").SheetState | undefined} */
export function stateOf(workflow, node) {
    return states.get(keyOf(workflow, node));
}

/**
 * Take a message of the node: either a whole `state`, or the `image` of draft `number` and `costs`.
 * @returns {import("./sheet.js").SheetState | undefined} the state that changed
 */
export function receive({ workflow, node, state, number, image, costs }) {
    const key = keyOf(workflow, node);
    if (state) states.set(key, state);
    const known = states.get(key);
    if (known && number !== undefined) {
        known.drafts[number].image = image;
        known.costs = costs;
    }
    return known;
}

/**
 * End what is being drawn, for a run that was interrupted or failed.
 * @param {"stopped" | "failed"} stage
 */
export function endAll(stage) {
    for (const state of states.values()) if (state.stage === "drawing") state.stage = stage;
}

function keyOf(workflow, node) {
    return `${workflow}/${node}`;
}
