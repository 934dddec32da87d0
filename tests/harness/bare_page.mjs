// What the pack's scripts find on a page, without a browser: enough for what draws nothing.

class Styles {
    text = "";
    replaceSync(text) {
        this.text = text;
    }
}

/** An element that keeps its listeners; `give` sends it an event, and tells what was done to it. */
class Element extends EventTarget {
    attributes = {};
    children = [];
    classList = { add() {} };
    dataset = {};
    style = { setProperty() {} };
    setAttribute(name, value) {
        this.attributes[name] = value;
    }
    append(...given) {
        this.children.push(...given);
    }
    replaceChildren(...given) {
        this.children = given;
    }
    give(name, given) {
        let stopped = false;
        const event = Object.assign(new Event(name, { cancelable: true }), given);
        event.stopPropagation = () => (stopped = true);
        this.dispatchEvent(event);
        return { stopped };
    }
}

/** Nodes with ids as in LiteGraph; `id` names the workflow. */
export class Graph {
    constructor(id, ...nodes) {
        this.id = id;
        this.show(...nodes);
    }
    show(...nodes) {
        this.nodes = nodes;
        for (const node of nodes) node.graph = this;
    }
    getNodeById(id) {
        return this.nodes.find((node) => String(node.id) === String(id));
    }
}

/** A node that takes widgets, such as `makeNode(5, "SAMAEdit")`. */
export function makeNode(id, comfyClass, widgets = []) {
    return {
        ...{ id, comfyClass, widgets, inputs: [], mode: 0, size: [300, 300], properties: {} },
        ...{ title: comfyClass, computeSize: () => [300, 300], setSize: () => {} },
        addDOMWidget(name, type, element) {
            const widget = { name, element };
            this.widgets.push(widget);
            return widget;
        },
    };
}

export const extensions = [];
export const api = Object.assign(new EventTarget(), {
    send(name, detail) {
        this.dispatchEvent(Object.assign(new Event(name), { detail }));
    },
});
export const app = {
    canvas: { canvas: new Element(), setDirty() {} },
    registerExtension: (extension) => extensions.push(extension),
};

Object.assign(globalThis, {
    CSSStyleSheet: Styles,
    document: { adoptedStyleSheets: [], createElement: () => new Element() },
});
globalThis.setInterval = () => 0; // a script that looks again and again would never end

/** Milliseconds on the page's clock, and what waits for it: {at, work}. */
let now = 0;
const waiting = [];
globalThis.setTimeout = (work, ms = 0) => waiting.push({ at: now + ms, work });

/** Let so many milliseconds go by: what is due then is done, in order, with what follows on it. */
export async function pass(ms) {
    const until = now + ms;
    await settle();
    for (;;) {
        const [next] = waiting.sort((one, other) => one.at - other.at);
        if (!next || next.at > until) break;
        now = Math.max(now, waiting.shift().at);
        next.work();
        await settle();
    }
    now = until;
}

/** Promises that nothing but each other keeps waiting are kept. */
const settle = () => new Promise(setImmediate);

/** The graph that the page shows: the root one, or `inside` of it. */
export function open(root, inside = root) {
    app.rootGraph = root;
    app.canvas.graph = inside;
    for (const { afterConfigureGraph } of extensions) afterConfigureGraph?.();
    app.canvas.canvas.dispatchEvent(new Event("litegraph:set-graph"));
}

/** All rules of CSS that are in force. */
export function rules() {
    return document.adoptedStyleSheets.map(({ text }) => text).filter(Boolean);
}
