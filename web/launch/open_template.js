/**
 * Opens the workflow of this pack that the page's address names, as in
 * `?template=1 Edit a video&source=ComfyUI-SAMA`.
 *
 * The frontend does that itself for names of letters, digits, `_`, `-` and `.`; these have spaces.
 */

import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";

const PACK = decodeURIComponent(import.meta.url.split("/extensions/")[1]?.split("/")[0] ?? "");
const BY_THE_FRONTEND = /^[a-zA-Z0-9_.-]+$/;
const LOOK_AGAIN_MS = 50;
const LONGEST_MS = 120_000;

app.registerExtension({
    name: "SAMA.OpenTemplate",
    setup() {
        const name = namedTemplate(new URLSearchParams(window.location.search));
        if (name) openWhenReady(name);
    },
});

/** The template of this pack in an address, if the frontend would not open it. */
function namedTemplate(address) {
    const name = address.get("template");
    const ours = address.get("source") === PACK;
    return ours && name && !BY_THE_FRONTEND.test(name) ? name : null;
}

/** Opens a template once the frontend has loaded what it starts with. */
async function openWhenReady(name) {
    const until = performance.now() + LONGEST_MS;
    while (!started() && performance.now() < until) await pause(LOOK_AGAIN_MS);
    const place = `/workflow_templates/${encodeURIComponent(PACK)}/${encodeURIComponent(name)}.json`;
    const reply = await fetch(api.apiURL(place));
    if (reply.ok)
        await app.loadGraphData(await reply.json(), true, true, name, { openSource: "template" });
    else console.warn(`SAMA: there is no template ${name} in ${PACK}`);
    forgetAddress();
}

function started() {
    const page = app.extensionManager;
    return page?.spinner === false && Boolean(page.workflow?.activeWorkflow);
}

function pause(milliseconds) {
    return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** Takes the template out of the address, so that reloading the page does not open it again. */
function forgetAddress() {
    const address = new URL(window.location.href);
    address.searchParams.delete("template");
    address.searchParams.delete("source");
    window.history.replaceState(window.history.state, "", address);
}
