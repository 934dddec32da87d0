/** Lets the frontend notice a change that no click on its own controls has made. */

import { app } from "../../../scripts/app.js";

/** The frontend's own draft of the workflow, which a reload opens, has the change; undo knows it. */
export function noticeChange() {
    const tracker = app.extensionManager?.workflow?.activeWorkflow?.changeTracker;
    if (tracker?.captureCanvasState) tracker.captureCanvasState();
    else tracker?.checkState?.();
}
