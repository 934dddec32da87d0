/** What a workflow holds of a sheet. */

/**
 * A state from what was saved, or null for anything that is none. What was not finished has ended.
 * @returns {import("./sheet.js").SheetState | null}
 */
export function stateFrom(saved) {
    const drafts = saved?.drafts;
    if (!Array.isArray(drafts) || !drafts.length || !drafts.every(isDraft)) return null;
    return {
        ...saved,
        sources: saved.sources ?? {},
        notes: listOf(saved.notes),
        costs: listOf(saved.costs),
        stage: saved.stage === "done" ? "done" : "stopped",
    };
}

function isDraft(draft) {
    return typeof draft?.pick === "string" && typeof draft.instruction === "string";
}

function listOf(texts) {
    return Array.isArray(texts) ? texts : [];
}
