"""How long the edits of a batch will take, by the law of `run.py plan`: sampling alone."""

from argparse import Namespace
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ... import embedded
from ...errors import SamaError
from ...geometry import DEFAULT_AREA
from ...model.config import DitConfig
from ...plan.budget import budget
from ...plan.machine import CPU, NVIDIA, Machine
from ...plan.planning import time_step
from ...plan.request import Request, encoder_sizes
from ...plan.seconds import Calibration
from ...plan.weight_bytes import RELEASED, RELEASED_CONFIG, Weights
from ...plan.whole_clip import ask_in_segments, count_segments
from ...released_files import release_of
from ..commands.plan import model_facts
from ..commands.planned_machine import this_machine
from ..model_choice import Trio
from ..places import Places
from ..server.client import Client
from .batch_rows import Settings

HERE = {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True)
class Model:
    """What the time of a step depends on."""

    config: DitConfig
    """Sizes of the model."""
    weights: Weights
    """Its weights, counted."""
    area: int
    """Working area in pixels where none is asked for."""


@dataclass(frozen=True)
class Span:
    """The least and the most seconds of something, and where the figures come from."""

    low: float
    """The least."""
    high: float
    """The most."""
    source: str
    """Where they come from."""


def model_of(trio: Trio, folders: Iterable[Path], places: Places) -> Model:
    """The model that edits, read from its file if that is here, else as released."""
    files = [embedded.DIT] if trio.small else [folder / trio.diffusion_model for folder in folders]
    here = next((file for file in files if file.is_file()), None)
    if here is None:
        return Model(RELEASED_CONFIG, RELEASED, DEFAULT_AREA)
    config, weights, area = model_facts([here], places)
    return Model(config, weights, area or DEFAULT_AREA)


def machine_of(client: Client | None) -> Machine:
    """The machine of a server; this one for None, and for an address of this machine."""
    if client is None or urlsplit(client.url).hostname in HERE:
        return this_machine(Namespace(vram=None, card=None, ram=None))
    stats = client.stats()
    device = (stats.get("devices") or [{}])[0]
    ram = stats.get("system", {})
    memory = {"free_ram": ram.get("ram_free"), "total_ram": ram.get("ram_total")}
    if device.get("type") != "cuda":
        return Machine(CPU, None, **memory)
    # ComfyUI writes "cuda:0 NVIDIA GeForce RTX 4090 : cudaMallocAsync".
    name = str(device.get("name", "")).partition(" ")[2].partition(" : ")[0]
    return Machine(
        NVIDIA,
        name or None,
        int(device.get("vram_free", 0)),
        int(device.get("vram_total", 0)),
        **memory,
    )


def edit_seconds(
    settings: Settings,
    size: dict,
    model: Model,
    machine: Machine,
    calibrations: Iterable[Calibration],
) -> Span | None:
    """Seconds of sampling of one edit, in segments; None where the machine's speed is not known.

    `size` is that of `frame_jobs.clip_size`. Raises SamaError for a size that no clip has.
    """
    release = release_of(model.config.text_dim)
    there = size["frames"] or release.frames
    frames = min(settings.frames, there) if settings.frames else there
    sides = size["width"], size["height"]
    clip = ask_in_segments(frames, sides, settings.area or model.area, model.config.lattice).clip
    steps, cfg, _ = release.sampling.fill(settings.steps, settings.cfg)
    sizes = encoder_sizes(model.config)
    request = Request(
        clip,
        model.config,
        model.weights,
        steps=steps,
        cfg=cfg,
        text_encoder=sizes["text_encoder"],
        vae=sizes["vae"],
    )
    step = time_step(request, budget(request.load(machine), machine), machine, calibrations)
    steps *= count_segments(frames, model.config.lattice)
    return Span(step.low * steps, step.high * steps, step.source) if step else None


def total_seconds(
    edits: list[tuple[Settings, dict]],
    model: Model,
    machines: list[Machine],
    calibrations: list[Calibration],
) -> Span | None:
    """Seconds of all edits on all machines at once, each doing what it can; None if one's speed is
    not known.
    """
    spans = [_one_after_another(edits, model, machine, calibrations) for machine in machines]
    known = [span for span in spans if span and span.low]
    if len(known) < len(machines):
        return None
    return Span(
        1 / sum(1 / span.low for span in known),
        1 / sum(1 / span.high for span in known),
        known[-1].source,
    )


def _one_after_another(
    edits: list[tuple[Settings, dict]],
    model: Model,
    machine: Machine,
    calibrations: list[Calibration],
) -> Span | None:
    """Seconds of all edits on one machine; clips of no possible size are left out."""
    known: dict[tuple, Span | None] = {}
    whole = Span(0.0, 0.0, "")
    for settings, size in edits:
        like = _like(settings, size)
        if like not in known:
            try:
                known[like] = edit_seconds(settings, size, model, machine, calibrations)
            except SamaError:
                known[like] = Span(0.0, 0.0, "no clip has this size")
        one = known[like]
        if one is None:
            return None
        whole = Span(whole.low + one.low, whole.high + one.high, one.source)
    return whole


def _like(settings: Settings, size: dict) -> tuple:
    """What edits that take as long have in common."""
    shape = (size["frames"], size["width"], size["height"])
    return (*shape, settings.frames, settings.area, settings.steps, settings.cfg)
