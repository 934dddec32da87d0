/**
 * The live preview as a film: the latent frames of a step, one after the other and from the start
 * again, where ComfyUI shows its preview.
 *
 * The pictures come from `sama_core/comfyui/film.py`. Each is handed to the frontend as ComfyUI's
 * own preview would be, so it looks the same in both kinds of nodes, in subgraphs and in the queue.
 */

import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";

const PREVIEW = "b_preview_with_metadata";
const ENDS = ["execution_success", "execution_error", "execution_interrupted", "reconnecting"];

/** What plays: {message, pictures, at, timer}; one at a time, as one node samples at a time. */
let playing = null;

app.registerExtension({
    name: "SAMA.Film",
    setup() {
        api.addEventListener("sama.film", ({ detail }) => play(detail));
        api.addEventListener("progress_state", ({ detail }) => {
            const node = playing && detail.nodes?.[playing.message.node];
            if (playing && (!node || node.state !== "running")) stop();
        });
        for (const end of ENDS) api.addEventListener(end, stop);
    },
});

/** Goes on with the pictures of a new step, at the place where the film is. */
function play(message) {
    const at = playing?.message.node === message.node ? playing.at : 0;
    stop();
    const pictures = message.frames.map(toPicture);
    playing = { message, pictures, at: at % pictures.length };
    playing.timer = setInterval(turn, 1000 / message.rate);
    showPicture();
}

function stop() {
    clearInterval(playing?.timer);
    playing = null;
}

function turn() {
    if (document.hidden) return;
    playing.at = (playing.at + 1) % playing.pictures.length;
    showPicture();
}

function showPicture() {
    const { message, pictures, at } = playing;
    api.dispatchCustomEvent(PREVIEW, {
        blob: pictures[at],
        nodeId: message.node,
        realNodeId: message.node,
        displayNodeId: message.display_node,
        parentNodeId: parentOf(message.display_node),
        promptId: message.prompt_id,
        jobId: message.prompt_id,
    });
    app.canvas?.setDirty(true, false);
}

/** The execution id of the subgraph node around a node: "3" for "3:5". */
function parentOf(id) {
    return id.includes(":") ? id.slice(0, id.lastIndexOf(":")) : undefined;
}

function toPicture(base64) {
    const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
    return new Blob([bytes], { type: "image/jpeg" });
}
