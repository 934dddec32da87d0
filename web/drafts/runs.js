/**
 * What runs of this page have sent, by workflow and node. A workflow in another tab of the page is
 * not loaded while its run goes on: its node takes the state from here when it is shown again.
 */

import { api } from "../../../scripts/api.js";

/** Under this name a node's output holds the state of its sheet, and the node itself keeps it. */
export const KEPT = "sama_drafts";
/** Stages in which a run may still draw. */
const UNDER_WAY = ["drawing", "away"];

/**
 * @typedef {import("./sheet.js").SheetState} SheetState
 * @typedef {{node: string, prompt: string | null, state: SheetState}} Run
 * @type {Map<string, Run>}
 */
const runs = new Map();

/** @returns {SheetState | undefined} */
export function stateOf(workflow, node) {
    return runs.get(keyOf(workflow, node))?.state;
}

/**
 * Take a message of the node, which holds the whole state: a page may have missed earlier ones.
 * What follows on the known state is put into that, so that a sheet need not be made anew.
 * @returns {{state: SheetState, drawn: number[] | null}} the new pictures; null for another state
 */
export function receive({ workflow, node, prompt = null, state }) {
    const key = keyOf(workflow, node);
    const known = runs.get(key);
    if (!prompt || known?.prompt !== prompt || !follows(state, known.state)) {
        runs.set(key, { node, prompt, state });
        return { state, drawn: null };
    }
    const drawn = [...state.drafts.keys()].filter((at) => !known.state.drafts[at].image);
    const filled = drawn.filter((at) => state.drafts[at].image);
    for (const at of filled) known.state.drafts[at].image = state.drafts[at].image;
    Object.assign(known.state, { costs: state.costs, stage: state.stage });
    return { state: known.state, drawn: filled };
}

/** Whether a state is a later one of the same sheet: a node draws several for a list of clips. */
function follows(state, known) {
    const isSame = ({ pick, frame, image }, at) => {
        const now = state.drafts[at];
        const kept = !image || image.filename === now.image?.filename;
        return kept && pick === now.pick && frame === now.frame;
    };
    const sources = [known, state].map((one) => JSON.stringify(one.sources));
    return (
        sources[0] === sources[1] &&
        known.drafts.length === state.drafts.length &&
        known.drafts.every(isSame)
    );
}

/**
 * End what is being drawn, for a run that was interrupted or failed, or a server that is away.
 * @param {"stopped" | "failed" | "away"} stage
 */
export function endAll(stage) {
    for (const { state } of runs.values()) if (UNDER_WAY.includes(state.stage)) state.stage = stage;
}

/**
 * Ask a server that is there again how the runs went on; where it gives no answer they stay away.
 * @returns {Promise<boolean>} whether it answered for all
 */
export async function ask() {
    const open = [...runs.values()].filter(({ state }) => UNDER_WAY.includes(state.stage));
    const answers = await Promise.allSettled(open.map(askFor));
    return answers.every(({ status }) => status === "fulfilled");
}

async function askFor({ node, prompt, state }) {
    // The queue first: what ends in between is in the history.
    const queue = await get("/queue");
    const waiting = [...queue.queue_running, ...queue.queue_pending];
    if (waiting.some(([, id]) => id === prompt)) {
        state.stage = "drawing";
        return;
    }
    const ended = (await get(`/history/${prompt}`))[prompt];
    const finished = ended?.outputs?.[node]?.[KEPT]?.[0];
    const failed = ended?.status?.messages?.some(([kind]) => kind === "execution_error");
    if (finished) Object.assign(state, finished);
    else state.stage = failed ? "failed" : ended ? "stopped" : "lost";
}

async function get(route) {
    return (await api.fetchApi(route)).json();
}

function keyOf(workflow, node) {
    return `${workflow}/${node}`;
}
