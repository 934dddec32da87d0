"""SAMA Plan in real graphs, and the restated memory rule against ComfyUI's own code."""

import weakref
from fractions import Fraction
from types import SimpleNamespace

import pytest
import torch

from sama_core import embedded
from sama_core.plan.budget import Load, budget
from sama_core.plan.machine import GIB, MIB, NVIDIA, OTHER_GPU, Machine

from ..harness.moving_shapes import moving_shapes
from ..harness.write_clip import write_clip
from .graphs import CLIP_FILE, Graph

MODEL = embedded.DIT.name


def plan(comfyui, **changes) -> tuple[str, bool, list]:
    """Report, verdict and what the node shows."""
    settings = {
        "model_name": MODEL,
        "weight_dtype": "default",
        "frames": 17,
        "width": 64,
        "height": 64,
        "steps": 20,
        "cfg": 1.0,
    }
    graph = Graph()
    node = graph.add("SAMAPlan", **{**settings, **changes})
    result = comfyui.run(graph.nodes, keep=[node[0]]).check()
    return *result.values[node[0]], result.outputs[node[0]]["text"]


# --- the node ----------------------------------------------------------------------------------


def test_plan_of_the_small_model(comfyui, pack):
    text, fits, shown = plan(comfyui)
    assert fits is True
    assert tuple(shown) == (text,)
    assert text.startswith(
        "SAMA plan: 17 frames of 64x64, 20 steps, cfg 1\nModel: sama_shapes.safetensors, 7.0 "
        "million weights, file in float16, computed in float32: 27 MiB in memory\nTokens: 225 = "
        "source 80 + semantic 65 + target 80\nWork: 4.42 GFLOP a call, 7% of it attention; 1 call "
        "a step (cfg 1), 88.4 GFLOP in all\nDevice: "
    )
    assert text.endswith("Verdict: it fits.")


def test_frames_from_a_clip(comfyui, small):
    """A connected clip is planned for, as frames or as its record; what was typed is not used."""
    for output, name in ((0, "images"), (1, "clip_info")):
        graph = Graph()
        video = graph.add("LoadVideo", file=CLIP_FILE)
        source = graph.add(
            "SAMASourceVideo", video=video, frames=7, start=0, stride=1, area=32 * 32, fps=24.0
        )
        node = graph.add(
            "SAMAPlan",
            model_name=MODEL,
            weight_dtype="default",
            frames=81,
            width=832,
            height=480,
            steps=20,
            cfg=5.0,
            **{name: [source[0], output]},
        )
        text = comfyui.run(graph.nodes, keep=[node[0]]).check().values[node[0]][0]
        assert text.startswith("SAMA plan: 9 frames of 32x32, 20 steps, cfg 5\n")


def test_padding_and_fitting_are_said(comfyui, pack):
    text, _, _ = plan(comfyui, frames=16, width=100, height=50)
    assert (
        "\n16 frames will be padded to 17 (4k+1).\nFrames of 100x50 will be fitted to 64x64.\n"
        in text
    )


def test_named_text_encoder_counts(comfyui, small):
    """The untrained encoder's file is smaller by about 0.6 MiB than the small model's own."""
    size = (comfyui.models("text_encoders") / small.text_encoder).stat().st_size
    request = comfyui.pack.module("sama_core.plan.request")
    seen, original = [], request.Request.load

    def record(self, machine):
        seen.append(self.text_encoder)
        return original(self, machine)

    request.Request.load = record
    try:
        plan(comfyui, text_encoder_name=small.text_encoder)
        plan(comfyui)
    finally:
        request.Request.load = original
    assert seen == [size, embedded.TEXT_ENCODER.stat().st_size]


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("wan_small.safetensors", "got a plain Wan model"),
        ("lora.safetensors", "got a LoRA"),
        ("delta.safetensors", "got a SAMA delta without the base model"),
        ("foreign.safetensors", "got a file of another model"),
        ("broken.safetensors", "no readable safetensors header"),
    ],
)
def test_wrong_files_are_refused_as_by_the_loader(comfyui, small, name, complaint):
    from safetensors.torch import save_file

    one = torch.zeros(2, 2)
    contents = {
        "lora.safetensors": {"diffusion_model.blocks.0.self_attn.q.lora_A.weight": one},
        "delta.safetensors": {"segment_embedding.weight": one},
        "foreign.safetensors": {"conv1.weight": one},
    }
    if name in contents:
        save_file(contents[name], comfyui.models("diffusion_models") / name)
    if name == "broken.safetensors":
        (comfyui.models("diffusion_models") / name).write_bytes(b"nothing")
    graph = Graph()
    node = graph.add(
        "SAMAPlan",
        model_name=name,
        weight_dtype="default",
        frames=17,
        width=64,
        height=64,
        steps=20,
        cfg=1.0,
    )
    result = comfyui.run(graph.nodes, keep=[node[0]])
    assert not result.ok
    assert complaint in result.errors[0]


def test_planned_weights_are_what_core_holds(comfyui, pack):
    """The header gives core's figure for the loaded model, less the 1000 sigmas (float32) of its
    noise schedule.
    """
    graph = Graph()
    model = graph.add("SAMALoadModel", model_name=MODEL, weight_dtype="default")
    patcher = comfyui.run(graph.nodes, keep=[model[0]]).check().values[model[0]][0]
    _, weights, _ = pack.module("sama_core.plan.read_model").read_model(embedded.DIT)
    assert weights.memory_bytes("default", 4) + 4000 == patcher.model_size() == 28_170_464
    loaded = pack.module("sama_core.comfyui.plan").loaded_weights(patcher)
    assert (loaded.name, loaded.parameters, loaded.stored) == (
        MODEL,
        weights.parameters,
        patcher.model_size(),
    )


@pytest.mark.parametrize(
    ("noted", "name"),
    [
        ((print, ("models/unet/one.gguf", {})), "one.gguf"),
        ((print, ("models/checkpoints/all.safetensors", False), 0), "all.safetensors"),
        ((print, ()), "the model"),
        (None, "the model"),
    ],
)
def test_weights_are_named_as_their_loader_noted_them(pack, noted, name):
    """Load Checkpoint notes a third value, which of its outputs it is."""
    find_name = pack.module("sama_core.comfyui.plan")._name_file
    assert find_name(SimpleNamespace(cached_patcher_init=noted)) == name


def test_cards_and_modes_as_core_has_them(comfyui, pack, monkeypatch):
    """A card of 24 GiB with 10 free and 8 taken by a model that core would remove."""
    import comfy.memory_management
    import comfy.model_management as management

    module = pack.module("sama_core.comfyui.plan")
    card = torch.device("cuda", 0)
    monkeypatch.setattr(management, "get_torch_device", lambda: card)
    monkeypatch.setattr(
        management, "get_free_memory", lambda device: (10 if device == card else 30) * GIB
    )
    monkeypatch.setattr(
        management, "get_total_memory", lambda device: (24 if device == card else 64) * GIB
    )
    monkeypatch.setattr(management, "is_nvidia", lambda: True)
    monkeypatch.setattr(management, "vram_state", management.VRAMState.LOW_VRAM)
    monkeypatch.setattr(management, "NUM_STREAMS", 2)
    monkeypatch.setattr(
        management,
        "current_loaded_models",
        [
            SimpleNamespace(model=object(), device=card, model_loaded_memory=lambda: 8 * GIB),
            SimpleNamespace(
                model=object(), device=torch.device("cpu"), model_loaded_memory=lambda: GIB
            ),
            SimpleNamespace(model=None, device=card),
        ],
    )
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA GeForce RTX 4090")
    found = module.this_machine(held_ram=GIB)
    assert (found.kind, found.card, found.free_vram, found.total_vram) == (
        NVIDIA,
        "NVIDIA GeForce RTX 4090",
        18 * GIB,
        24 * GIB,
    )
    assert (found.free_ram, found.total_ram, found.reserved) == (
        31 * GIB,
        64 * GIB,
        management.extra_reserved_memory(),
    )
    assert (found.vram_mode, found.streams, found.program) == ("low", 2, 0)
    assert found.dynamic is comfy.memory_management.aimdo_enabled


def test_dynamic_vram_of_core_knows_no_modes(comfyui, monkeypatch):
    """--highvram and its like switch it off, --enable-dynamic-vram on again. Then the room for
    weights that a mode stands for is not heard.
    """
    from unittest.mock import MagicMock

    from comfy.cli_args import args, enables_dynamic_vram
    from comfy.model_patcher import ModelPatcherDynamic

    monkeypatch.setattr(args, "cpu", False)
    assert enables_dynamic_vram()
    for mode in ("highvram", "gpu_only", "novram"):
        with monkeypatch.context() as started:
            started.setattr(args, mode, True)
            assert not enables_dynamic_vram()
            started.setattr(args, "enable_dynamic_vram", True)
            assert enables_dynamic_vram()
    patcher = MagicMock()
    for room in (0.1, 8 * GIB, 1e32):
        ModelPatcherDynamic.partially_load(patcher, "card", room)
    first, *others = patcher.load.call_args_list
    assert len(others) == 2 and all(call == first for call in others)
    assert set(first.kwargs) == {"dirty"}


# --- in the minutes that an artist has ----------------------------------------------------------

CARD = "RTX 4090 24 GB"


def test_three_choices_for_the_canvas(comfyui, pack):
    """On a named card, which the computer need not have; the report is that of the edit."""
    size = {"frames": 81, "width": 832, "height": 480, "steps": 0, "cfg": -1.0}
    graph = Graph()
    node = graph.add(
        "SAMAPlan", model_name=MODEL, weight_dtype="default", minutes=0.1, card=CARD, **size
    )
    result = comfyui.run(graph.nodes, keep=[node[0]]).check()
    text, fits = result.values[node[0]]
    shown = result.outputs[node[0]]
    assert fits is True and tuple(shown["text"]) == (text,)
    assert text.startswith(
        "SAMA in 0.1 minutes on RTX 4090 24 GB, 24.0 GiB free\nAsked for: 81 frames of 832x480, "
        "10 steps, cfg 1.3; 5.5 to 9.5 s\nFull: 81 frames of 832x480, 5 steps, cfg 1.3; "
    )
    assert "\nSAMA plan: 81 frames of 832x480, 10 steps, cfg 1.3\n" in text
    assert "\nFull: " not in shown["sama_report"][0]
    choices = [(one["name"], one["area"], one["steps"]) for one in shown["sama_choices"]]
    assert choices == [("Full", 399360, 5), ("Middle", 292864, 4), ("Draft", 163840, 4)]


def test_a_video_is_planned_by_its_own_length(comfyui, pack):
    """100 frames, in the segments of SAMA Edit Whole Video; what was typed is not used."""
    write_clip(comfyui.base / "input" / "long.mp4", moving_shapes(100, 64, 64), Fraction(12))
    graph = Graph()
    video = graph.add("LoadVideo", file="long.mp4")
    size = {"frames": 17, "width": 832, "height": 480, "steps": 0, "cfg": -1.0}
    node = graph.add(
        "SAMAPlan",
        model_name=MODEL,
        weight_dtype="default",
        minutes=5.0,
        card=CARD,
        video=video,
        **size,
    )
    result = comfyui.run(graph.nodes, keep=[node[0]]).check()
    text = result.values[node[0]][0]
    assert "\nSAMA Edit Whole Video edits 100 frames in 2 segments of 81.\n" in text
    assert "\nFull: 100 frames of 64x64, in 2 segments of 81, 10 steps, cfg 1.3; " in text
    assert result.outputs[node[0]]["sama_choices"][0]["frames"] == 0, "all there are"


def test_without_minutes_there_are_no_choices(comfyui, pack):
    graph = Graph()
    node = graph.add(
        "SAMAPlan", model_name=MODEL, weight_dtype="default", frames=17, width=64, height=64,
        steps=0, cfg=-1.0,
    )  # fmt: skip
    shown = comfyui.run(graph.nodes, keep=[node[0]]).check().outputs[node[0]]
    assert shown["sama_choices"] == []
    assert shown["text"][0].startswith("SAMA plan: 17 frames of 64x64, 10 steps, cfg 1.3\n")


@pytest.mark.parametrize(
    ("minutes", "complaint"),
    [
        (-1.0, "smaller than min"),
        (float("nan"), "minutes: got nan, needs a number from 0 to 100,000."),
    ],
)
def test_minutes_that_are_no_time(comfyui, pack, minutes, complaint):
    graph = Graph()
    node = graph.add(
        "SAMAPlan", model_name=MODEL, weight_dtype="default", frames=17, width=64, height=64,
        steps=0, cfg=-1.0, minutes=minutes,
    )  # fmt: skip
    result = comfyui.run(graph.nodes, keep=[node[0]])
    assert not result.ok and complaint in result.errors[0]


# --- the rule is core's ------------------------------------------------------------------------


class Patcher:
    """As much of a ModelPatcher as `load_models_gpu` asks for; remembers what it may put on the
    card.
    """

    def __init__(self, size: int):
        self.size, self.loaded = size, 0
        self.load_device, self.offload_device, self.parent = (
            torch.device("cuda", 0),
            torch.device("cpu"),
            None,
        )
        self.model = torch.nn.Module()
        self.may_load = None

    def is_dynamic(self):
        return False

    def is_clone(self, other):
        return False

    def model_patches_models(self):
        return []

    def model_patches_to(self, what):
        pass

    def model_dtype(self):
        return torch.bfloat16

    def model_size(self):
        return self.size

    def loaded_size(self):
        return self.loaded

    def current_loaded_device(self):
        return self.offload_device

    def partially_load(self, device, extra, force_patch_weights=False):
        self.may_load = extra


@pytest.mark.parametrize("free", [3, 6, 12, 23, 24.4, 40])
@pytest.mark.parametrize("activations", [0.1, 4])
@pytest.mark.parametrize("kind", [NVIDIA, OTHER_GPU])
def test_room_for_weights_is_what_core_computes(comfyui, monkeypatch, free, activations, kind):
    """`load_models_gpu` itself, on a card that is only said to be there."""
    import comfy.model_management as management

    monkeypatch.setattr(management, "current_loaded_models", [])
    monkeypatch.setattr(management, "vram_state", management.VRAMState.NORMAL_VRAM)
    monkeypatch.setattr(management, "lowvram_available", True)
    monkeypatch.setattr(management, "MIN_WEIGHT_MEMORY_RATIO", 0.0 if kind == NVIDIA else 0.4)
    monkeypatch.setattr(
        management,
        "get_free_memory",
        lambda device=None, torch_free_too=False: (free * GIB, 0) if torch_free_too else free * GIB,
    )
    monkeypatch.setattr(management, "ensure_pin_budget", lambda size: None)
    monkeypatch.setattr(management, "ensure_pin_registerable", lambda size: None)
    patcher = Patcher(20 * GIB)
    management.load_models_gpu(
        [patcher], memory_required=2 * activations * GIB, minimum_memory_required=activations * GIB
    )
    load = Load(20 * GIB, layer=0, activations=int(activations * GIB), guided=False, beside=0)
    machine = Machine(
        kind,
        "a card",
        int(free * GIB),
        int(free * GIB),
        dynamic=False,
        reserved=int(management.extra_reserved_memory()),
    )
    room = max(0, patcher.may_load)
    assert budget(load, machine).kept == pytest.approx(min(room, 20 * GIB), abs=MIB)
    assert weakref.ref(patcher)() is patcher
