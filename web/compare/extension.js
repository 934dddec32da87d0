/** SAMA Compare in ComfyUI: a player in every node of that kind, and what it keeps in the node. */

import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";
import { chain, lastOutput } from "../shared/our_nodes.js";
import { leavePlace, takePlace } from "../shared/place.js";
import { Player } from "./player.js";
import { addStyle } from "../shared/style.js";

const NODE = "SAMACompare";
/** Under this name the film and the view are saved with the node. */
const KEPT = "sama_compare";
const WIDGET = "comparison";
const SMALLEST = [480, 560];
const SMALLEST_HEIGHT = 300;

app.registerExtension({
    name: "SAMA.Compare",
    nodeCreated(node) {
        if (node.constructor.comfyClass !== NODE) return;
        addStyle("compare/compare.css");
        const player = new Player(urlOf, (view) => keep(node, { view }));
        node.addDOMWidget(WIDGET, "SAMA_COMPARISON", player.element, {
            serialize: false,
            hideOnZoom: false,
            getMinHeight: () => SMALLEST_HEIGHT,
        });
        node.setSize([Math.max(node.size[0], SMALLEST[0]), Math.max(node.size[1], SMALLEST[1])]);
        chain(node, "onExecuted", (output) => {
            const film = output?.[KEPT]?.[0];
            if (!film) return;
            keep(node, { film });
            player.show(film);
        });
        const restore = () => {
            const saved = node.properties?.[KEPT];
            const film = saved?.film ?? lastOutput(node)?.[KEPT]?.[0];
            if (saved || film) player.show(film, saved?.view);
        };
        chain(node, "onAdded", () => {
            player.attach();
            restore();
            takePlace(node, WIDGET, player.element);
        });
        chain(node, "onConfigure", restore);
        chain(node, "onRemoved", () => {
            player.large.close();
            leavePlace(node, WIDGET, player.element);
            player.release();
        });
    },
});

function keep(node, changes) {
    node.properties[KEPT] = { ...node.properties[KEPT], ...changes };
}

/** The number keeps a browser from showing what it kept of a file that is gone. */
function urlOf({ filename, subfolder = "", type = "temp" }) {
    const asked = new URLSearchParams({ filename, subfolder, type, rand: Math.random() });
    return api.apiURL(`/view?${asked}`);
}
