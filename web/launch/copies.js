/**
 * Says that several copies of the pack lie in custom_nodes, and which of them are not used.
 */

import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";
import { sayOverPage } from "../shared/app_messages.js";
import { translate } from "../shared/words.js";

app.registerExtension({
    name: "SAMA.Copies",
    async setup() {
        try {
            const reply = await api.fetchApi("/sama/pack");
            const { unused } = reply.ok ? await reply.json() : {};
            if (unused?.length) say(unused);
        } catch (error) {
            console.warn("SAMA: whether there are several copies is not known:", error);
        }
    },
});

function say(unused) {
    const text = translate(
        "It is installed %count% times. Not used: %folders%. Keep one of the folders, and restart ComfyUI.",
        { count: unused.length + 1, folders: unused.join(", ") },
    );
    sayOverPage("ComfyUI-SAMA", "warning", text);
}
