"""Whatever an API call or another pack's node puts into an input: a result, or one sentence.

Every input of every node.

Typed values go through ComfyUI's own validation; linked ones, which it does not look at, come from
a node that gives any value. Each runs through the real executor on the small model.
"""

import logging
import math
import re
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from ..comfyui.graphs import CLIP_FILE, INSTRUCTION, SMALL_AREA, Edit, output

NODE_IDS = sorted(
    page.stem for page in (Path(__file__).resolve().parents[2] / "web" / "docs").glob("SAMA*.md")
)
NAN, HUGE = float("nan"), 2**70

TYPED = {
    "INT": [NAN, math.inf, HUGE, -HUGE, -1, 1e300, "seven", "", None, {}, True, "\0"],
    "FLOAT": [NAN, math.inf, -math.inf, HUGE, -1e300, -1, "many", "nan", "1e999", None, {}, True],
    "STRING": [
        "",
        "\0",
        "a\nb\x1b[31m\u202e\ufeff",
        "x" * 20_000,
        "\ud800 half",
        "💥" * 99,
        5,
        None,
        {},
        True,
    ],
    "BOOLEAN": ["no", None, 2, NAN, {}],
    "COMBO": ["nope", "", "../../../etc/passwd", "\0", "\ud800", None, 5, HUGE, NAN, {}, True],
}
NUMBERS = [
    NAN,
    math.inf,
    -math.inf,
    HUGE,
    -HUGE,
    10**400,
    -1,
    1.5,
    1e-300,
    True,
    np.int64(3),
    np.float32("nan"),
    "7",
    None,
    [],
    {},
    torch.ones(1),
    object(),
    3 + 0j,
]
LINKED = {
    "INT": NUMBERS,
    "FLOAT": NUMBERS,
    "STRING": [
        "\0",
        "a\nb\x1b[31m",
        "x" * 20_000,
        "\ud800 half",
        5,
        NAN,
        None,
        [],
        {},
        b"bytes",
        torch.ones(1),
    ],
    "BOOLEAN": ["no", None, 2, NAN, {}, torch.ones(2)],
    "COMBO": ["nope", "../../../etc/passwd", "\0", "\ud800", None, 5, NAN, [], {}, torch.ones(1)],
}
WRONG = [None, 5, "text", [], {}, torch.ones(0), torch.tensor(1.0), torch.ones(3), object()]
SOCKETS = {
    "IMAGE": [
        torch.full((5, 32, 32, 3), NAN),
        torch.full((5, 32, 32, 3), math.inf),
        torch.ones(5, 32, 32),
        torch.ones(5, 32, 32, 1),
        torch.ones(5, 32, 32, 2),
        torch.ones(5, 32, 32, 4),
        torch.ones(0, 32, 32, 3),
        torch.ones(5, 0, 32, 3),
        torch.ones(5, 32, 32, 3, dtype=torch.uint8),
        torch.ones(5, 32, 32, 3).half(),
        torch.ones(5, 32, 32, 3, dtype=torch.float64),
        torch.full((5, 32, 32, 3), 1e30),
        torch.ones(1, 3, 32, 32),
    ],
    "MASK": [
        torch.full((5, 32, 32), NAN),
        torch.ones(32),
        torch.ones(1, 1, 1, 32, 32),
        torch.ones(0, 32, 32),
        torch.ones(3, 32, 32),
        torch.zeros(5, 32, 32),
        torch.ones(5, 32, 32, dtype=torch.bool),
        torch.full((5, 32, 32), -1e30),
    ],
    "LATENT": [
        {"samples": None},
        {"samples": 5},
        {"samples": torch.ones(1, 16, 4, 4)},
        {"samples": torch.ones(3)},
        {"samples": torch.ones(1, 4, 2, 4, 4)},
        {"samples": torch.full((1, 16, 2, 4, 4), NAN)},
    ],
    "CONDITIONING": [
        [[]],
        [[torch.ones(1, 4, 64)]],
        [[torch.ones(4, 64), {}]],
        [[torch.ones(1, 4, 3), {}]],
        [[torch.ones(1, 1, 4, 64), {}]],
        [["text", {}]],
        [[torch.ones(1, 4, 64), None]],
    ],
    "AUDIO": [
        {"waveform": torch.ones(1, 2, 100)},
        {"sample_rate": 48000},
        {"waveform": None, "sample_rate": 48000},
        {"waveform": torch.ones(2, 100), "sample_rate": 48000},
        {"waveform": torch.ones(1, 2, 100), "sample_rate": 0},
        {"waveform": torch.ones(1, 2, 100), "sample_rate": -5},
        {"waveform": torch.ones(1, 2, 100), "sample_rate": NAN},
        {"waveform": torch.ones(1, 2, 100), "sample_rate": HUGE},
        {"waveform": torch.full((1, 2, 4800), NAN), "sample_rate": 48000},
        {"waveform": torch.ones(1, 0, 100), "sample_rate": 48000},
        {"waveform": torch.ones(1, 2, 0), "sample_rate": 48000},
        {"waveform": torch.ones(1, 7, 4800), "sample_rate": 48000},
        {"waveform": torch.ones(1, 40, 4800), "sample_rate": 48000},
        {"waveform": torch.ones(1, 2, 4800, dtype=torch.int16), "sample_rate": 48000},
    ],
    "SAMA_SEMANTIC": [torch.ones(1, 3, 1152), torch.ones(1, 65, 7), torch.full((1, 65, 1152), NAN)],
}
SOCKETS["VIDEO,IMAGE"] = SOCKETS["IMAGE"]


class AnyType(str):
    """The type of an output that fits every input, as packs with such nodes write it."""

    def __ne__(self, other):
        return False


class HarnessList:
    """A node that gives a list without anything in it."""

    RETURN_TYPES, FUNCTION, CATEGORY = (AnyType("*"),), "give", "harness"
    OUTPUT_IS_LIST = (True,)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    def give(self):
        return ([],)


class HarnessValue:
    """A node that gives any Python value."""

    RETURN_TYPES, FUNCTION, CATEGORY = (AnyType("*"),), "give", "harness"
    values: ClassVar[list] = []

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"number": ("INT", {})}}

    def give(self, number):
        return (self.values[number],)


WIRED = ("MODEL", "CLIP", "VAE", "VIDEO", "SAMA_CLIP_INFO", "ALIGN_FEATURES")
"""Kinds of sockets beside SOCKETS that a trial connects."""


ONE_OF_TWO = {
    "SAMASourceVideo": "images",
    "SAMAEditWholeVideo": "mask_video",
    "SAMAVideoShare": "mask_video",
}
"""Node → the input that it does not take beside another one."""


class Bench:
    """A graph in which every kind of socket has something right to connect, and one node under
    trial.
    """

    def __init__(self, comfyui, small, node_id: str):
        self.edit = Edit(comfyui, small, area=SMALL_AREA)
        self.node_id, self.inputs = node_id, comfyui.node_class(node_id).define_schema().inputs
        self._sampled, self._parts = None, None
        self.base = {
            entry.id: value
            for entry in self.inputs
            if (value := self._right(entry, small)) is not None
        }
        self.base.pop(ONE_OF_TWO.get(node_id, ""), None)

    def _right(self, entry, small):
        """A right value, or a link to one."""
        edit, kind = self.edit, entry.get_io_type()
        files = {
            "model_name": small.sama,
            "text_encoder_name": small.text_encoder,
            "vae_name": small.vae,
            "lora_name": "hostile_lora.safetensors",
            "instruction": INSTRUCTION,
            "instructions": INSTRUCTION,
            "steps": 1,
            "frames": 5,
            "area": SMALL_AREA,
            "overlap_frames": 4,
            "segment_frames": 9,
            "file_name": "",
            "overwrite": True,
            "base_model": None,
        }
        if kind == "COMBO" and entry.id == "text_encoder_name" and entry.optional:
            return None
        if kind not in SOCKETS and kind not in WIRED:
            return files.get(entry.id, getattr(entry, "default", None))
        if entry.id == "anchor":
            return edit.add("EmptyImage", width=32, height=32, batch_size=1, color=0)
        if kind == "LATENT":
            self._sampled = self._sampled or edit.ksampler(steps=1)
            return self._sampled
        if kind == "SAMA_SEMANTIC":
            self._sampled = self._sampled or edit.ksampler(steps=1)
            return output(edit.add("SAMASplitLatent", latent=self._sampled), 1)
        links = {
            "MODEL": lambda: edit.model,
            "CLIP": lambda: edit.clip,
            "VAE": lambda: edit.vae,
            "IMAGE": lambda: edit.source,
            "VIDEO,IMAGE": lambda: edit.source,
            "CONDITIONING": lambda: edit.add(
                "SAMAInstruction", clip=edit.clip, instruction=INSTRUCTION, edit_tag=True
            ),
            "MASK": lambda: edit.add("SolidMask", value=1.0, width=32, height=32),
            "VIDEO": lambda: edit.add("LoadVideo", file=CLIP_FILE),
            "SAMA_CLIP_INFO": lambda: output(edit.source, 1),
            "ALIGN_FEATURES": lambda: edit.add(
                "SAMATeacherFeatures", frames=edit.source, teacher="pixels"
            ),
            "AUDIO": lambda: edit.add("EmptyAudio", duration=0.3, sample_rate=48000, channels=2),
        }
        return links[kind]()

    def linked(self, name: str, value) -> str:
        """As `trial`, with a link to a node that gives `value`."""
        HarnessValue.values.append(value)
        number = len(HarnessValue.values) - 1
        return self.trial(
            name,
            ["value", 0],
            {"value": {"class_type": "HarnessValue", "inputs": {"number": number}}},
        )

    def trial(self, name: str, given, more: dict | None = None) -> str:
        """What is wrong with the run in which input `name` is `given`; empty if it is a result or
        one sentence.
        """
        graph = {**self.edit.nodes, **(more or {})}
        graph["trial"] = {"class_type": self.node_id, "inputs": {**self.base, name: given}}
        try:
            result = self.edit.comfyui.run(graph, keep=["trial"], preview="none", warm=True)
        except Exception as broken:  # validation itself fell over
            return f"raised {type(broken).__name__}: {broken}"
        if result.ok or result.node_errors:
            return ""
        message = (
            result.errors[0]
            if len(result.errors) == 1
            else f"{len(result.errors)} errors: {result.errors}"
        )
        return "" if is_clear(message) else message


def is_clear(message: str) -> bool:
    """One error of the pack's own family, in the form 'what: got …, needs …. What to set.'"""
    found = re.fullmatch(
        r"\S+ SAMA\w+: \S*sama_core\.(?:errors|convert\.failure)\.\w+: (.*)", message, re.DOTALL
    )
    if not found:
        return False
    text = found[1]
    plain = all(sign.isprintable() or sign == "\n" for sign in text) and len(text) < 1000
    return plain and ": got " in text and ", needs " in text and text.rstrip().endswith(".")


@pytest.fixture(scope="module")
def hostile(comfyui, small):
    """Writes a LoRA file, and registers the node that gives any value.

    Nothing is logged meanwhile: half a UTF-16 pair in a captured line would end a worker of
    pytest-xdist.
    """
    import nodes
    from safetensors.torch import save_file

    ours = {"HarnessValue": HarnessValue, "HarnessList": HarnessList}
    nodes.NODE_CLASS_MAPPINGS |= ours
    logging.disable()
    lora = {
        f"diffusion_model.blocks.0.self_attn.q.lora_{side}.weight": torch.zeros(shape)
        for side, shape in (("A", (4, 256)), ("B", (256, 4)))
    }
    save_file(lora, comfyui.models("loras") / "hostile_lora.safetensors")
    yield comfyui, small
    logging.disable(logging.NOTSET)
    for name in ours:
        del nodes.NODE_CLASS_MAPPINGS[name]


def test_every_node_is_tried(pack):
    assert sorted(pack.node_ids) == NODE_IDS


@pytest.mark.parametrize("node_id", NODE_IDS)
def test_the_graph_of_a_trial_is_right_itself(hostile, node_id):
    """Else every error below would be this one."""
    bench = Bench(*hostile, node_id)
    graph = {**bench.edit.nodes, "trial": {"class_type": node_id, "inputs": bench.base}}
    bench.edit.comfyui.run(graph, keep=["trial"], preview="none").check()


@pytest.mark.parametrize("node_id", NODE_IDS)
def test_typed_values(hostile, node_id):
    bench = Bench(*hostile, node_id)
    wrong = [
        (entry.id, ascii(value)[:60], text)
        for entry in bench.inputs
        for value in TYPED.get(entry.get_io_type(), ())
        if (text := bench.trial(entry.id, value))
    ]
    assert wrong == []


@pytest.mark.parametrize("node_id", NODE_IDS)
def test_linked_values(hostile, node_id):
    bench, wrong = Bench(*hostile, node_id), []
    for entry in bench.inputs:
        kind = entry.get_io_type()
        wrong += [
            (entry.id, ascii(value)[:60], text)
            for value in LINKED.get(kind) or [*WRONG, *SOCKETS.get(kind, ())]
            if (text := bench.linked(entry.id, value))
        ]
    assert wrong == []


@pytest.mark.parametrize("node_id", NODE_IDS)
def test_empty_lists(hostile, node_id):
    """As far as they come to the node: where other inputs have values, ComfyUI itself looks for a
    first one in the list, and fails.
    """
    bench, wrong = Bench(*hostile, node_id), []
    node = {"class_type": "HarnessList", "inputs": {}}
    for entry in bench.inputs:
        text = bench.trial(entry.id, ["value", 0], {"value": node})
        wrong += [] if text.endswith(": IndexError: list index out of range") else [text]
    schema = bench.edit.comfyui.node_class(node_id).define_schema()
    asked = len(bench.inputs) if schema.is_input_list or len(bench.inputs) == 1 else 0
    assert [text for text in wrong if text] == [] and len(wrong) >= asked
