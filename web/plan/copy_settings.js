/**
 * Copies the settings of a plan to the nodes that make the edit: the edit node itself, and what is
 * connected to it, the source of its frames and the loader of its model.
 */

import { app } from "../../../scripts/app.js";
import { noticeChange } from "../shared/changes.js";
import { kindOf, ourNodes } from "../shared/our_nodes.js";
import { controlOf, isLinked, originOf } from "../shared/subgraph_border.js";

const WHOLE = "SAMAEditWholeVideo";
const AT_ONCE = "SAMAEdit";
const EDITS = [AT_ONCE, "SAMALongEdit", WHOLE];
const SOURCES = ["SAMASourceVideo"];
const LOADERS = ["SAMALoadModel", "UNETLoader"];
const LORAS = ["SAMALoadLora", "LoraLoaderModelOnly", "LoraLoader"];
/** Files that are step-distilled LoRAs by their names; as in `sama_core/comfyui/distilled.py`. */
export const DISTILLED = new RegExp(
    "caus[-_ ]?vid|fusioni?x|lightx2v|self[-_ ]?forc|distill|lightning|turbo" +
        "|(?<![a-z])dmd2?(?![a-z0-9])|(?<!\\d)([1-9]|1[0-2])[-_ ]?steps?(?![a-z]|[-_ ]?\\d)",
    "i",
);
const KEEP_SIZE = "keep size"; // the fit by which `area` decides nothing
const RUNS = 0; // the mode of a node that is neither muted nor bypassed

/** The edit nodes that run; those behind the clip that `plan` is connected to, where it is. */
export function findEdits(plan) {
    const edits = ourNodes().filter((node) => EDITS.includes(kindOf(node)) && node.mode === RUNS);
    const source = behind(plan, "clip_info", SOURCES)[0] ?? behind(plan, "images", SOURCES)[0];
    const same = source && edits.filter((edit) => behind(edit, "frames", SOURCES).includes(source));
    return same?.length ? same : edits;
}

/** A node's name for people, such as "SAMA Edit (6)". */
export function nameOf(node) {
    return `${node.title} (${node.id})`;
}

/**
 * Sets what `choice` says.
 *
 * @param {object} edit the edit node
 * @param {object} choice see `list_choices` in `sama_core/plan/minutes_text.py`
 * @returns {string[]} what was done, and what is left to do by hand
 */
export function copySettings(edit, choice) {
    if (choice.segments > 1 && kindOf(edit) === AT_ONCE) {
        return [
            `Nothing is copied: ${nameOf(edit)} takes all frames at once, and these are ` +
                `${choice.segments} segments. Use SAMA Edit Whole Video.`,
        ];
    }
    const source = kindOf(edit) === WHOLE ? edit : behind(edit, "frames", SOURCES)[0];
    const loader = behind(edit, "model", LOADERS)[0];
    const done = new Map();
    const left = [];
    const set = (node, values, where = "") => {
        for (const [name, value] of Object.entries(values)) {
            const owner = node && setValue(node, name, value);
            if (owner) {
                done.set(owner, [...(done.get(owner) ?? []), `${name} ${value}`]);
            } else if (node && isLinked(node, name)) {
                left.push(`${name} ${value}, where ${nameOf(node)} has it from`);
            } else left.push(`${name} ${value} in ${where || nameOf(node)}`);
        }
    };
    set(edit, { steps: Number(choice.steps), cfg: Number(choice.cfg) });
    if (kindOf(edit) !== AT_ONCE) set(edit, { segment_frames: Number(choice.segment_frames) });
    set(source, { frames: Number(choice.frames) }, "SAMA Source Video");
    if (source && controlOf(source, "fit")?.widget.value === KEEP_SIZE) {
        left.push(
            `area ${choice.area} and a fit other than ${KEEP_SIZE} in ${nameOf(source)}, ` +
                "which keeps the clip's own size now",
        );
    } else set(source, { area: Number(choice.area) }, "SAMA Source Video");
    const { weight_dtype } = choice;
    if (
        weight_dtype &&
        weight_dtype !== (controlOf(loader, "weight_dtype")?.widget.value ?? "default")
    ) {
        set(loader, { weight_dtype }, "Load SAMA Model");
    }
    noticeChange();
    app.canvas?.setDirty(true, true);
    const lines = [...done].map(
        ([node, names]) => `Copied to ${nameOf(node)}: ${names.join(", ")}.`,
    );
    if (left.length) lines.push(`Set by hand: ${left.join("; ")}.`);
    return [...lines, ...aboutModel(loader, choice), ...aboutWeights(edit, choice)];
}

/** A plan for one file fits no other: its steps, size and time are that model's. */
function aboutModel(loader, choice) {
    const control = controlOf(loader, "model_name") ?? controlOf(loader, "unet_name");
    const value = control?.widget.value;
    const same = !value || !choice.model || fileName(value) === fileName(choice.model);
    if (same || choice.file) return [];
    return [`The plan is for ${choice.model}, but ${nameOf(loader)} loads ${value}.`];
}

function fileName(path) {
    return String(path).split(/[\\/]/).pop();
}

/** What no button can do: another file, a LoRA that is to come or to go. */
function aboutWeights(edit, choice) {
    const lines = [];
    if (choice.file) {
        lines.push(`Write the ${choice.file} file with SAMA Convert Weights, and load it.`);
    }
    const distilled = behind(edit, "model", LORAS).find(
        (node) => node.mode === RUNS && DISTILLED.test(fileName(loraOf(node))),
    );
    if (choice.lora && !distilled) {
        lines.push(
            "Now connect Load SAMA LoRA with a step-distilled LoRA between the model and " +
                `${nameOf(edit)}: without it so few steps give a poor edit.`,
        );
    }
    if (!choice.lora && distilled) {
        lines.push(`Bypass ${nameOf(distilled)}: these steps and cfg are for no distilled LoRA.`);
    }
    return lines;
}

/** The file of a LoRA loader, also where a subgraph around it shows the choice. */
function loraOf(node) {
    return controlOf(node, "lora_name")?.widget.value ?? "";
}

/** Nodes of these kinds behind an input, nearest first: through links of the input's own type. */
function behind(node, input, kinds) {
    const first = node.inputs?.find(({ name }) => name === input);
    const type = first?.type;
    const found = [];
    const seen = new Set();
    const follow = (from, slot) => {
        const origin = originOf(from, slot);
        if (!origin || seen.has(origin)) return;
        seen.add(origin);
        if (kinds.includes(kindOf(origin))) found.push(origin);
        origin.inputs?.forEach((entry, at) => {
            if ([type, "*"].includes(entry.type)) follow(origin, at);
        });
    };
    if (first) follow(node, node.inputs.indexOf(first));
    return found;
}

/**
 * Sets a value as if its control had been used: the node's own, or the one that a subgraph shows
 * for it. Returns the node that has the control; null where a link decides, or nothing takes it.
 */
function setValue(node, name, value) {
    const { owner, widget } = controlOf(node, name) ?? {};
    const choices = widget?.options?.values;
    if (!widget || (Array.isArray(choices) && !choices.includes(value))) return null;
    if (typeof value === "number" && !Number.isFinite(value)) return null;
    widget.value = value;
    widget.callback?.(value, app.canvas, owner);
    return owner;
}
