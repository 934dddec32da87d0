"""The edit that is planned: its clip, its settings, its operations."""

import dataclasses

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from sama_core.errors import GeometryError, SamaError
from sama_core.geometry import ClipShape
from sama_core.model.dit import SamaDiT
from sama_core.model.memory_law import TEXT_ROWS, sequence_tokens
from sama_core.plan.request import Request, default_size, fitted_clip, forward_flops
from sama_core.plan.weight_bytes import (
    RELEASED_CONFIG,
)

from .machines import ESTIMATED


@pytest.mark.parametrize(("clip", "slices"), [((81, 480, 832), 2), ((5, 480, 832), 1)])
def test_feed_forwards_of_a_request(clip, slices):
    """2 x 5120 x 13,824 in each of 40 blocks, two bytes each and the heads' share; whole up to
    8,192 tokens."""
    load = Request(ClipShape(*clip)).load(ESTIMATED)
    assert (load.feed_forward, load.slices) == (11_334_668_840, slices)


@pytest.mark.parametrize(
    ("given", "clip", "words"),
    [
        ((81, 832, 480), (81, 480, 832), []),
        ((80, 832, 480), (81, 480, 832), ["80 frames will be padded to 81 (4k+1)."]),
        ((1, 16, 16), (1, 16, 16), []),
        (
            (5, 1920, 1080, 832 * 480),
            (5, 480, 832),
            ["Frames of 1920x1080 will be fitted to 832x480."],
        ),
        ((5, 1000, 1000), (5, 1024, 992), ["Frames of 1000x1000 will be fitted to 992x1024."]),
    ],
)
def test_clips_become_what_the_model_gets(given, clip, words):
    assert fitted_clip(*given) == (ClipShape(*clip), tuple(words))


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ((0, 832, 480), "frames: got 0, needs 1 to 100000"),
        ((100_001, 832, 480), "frames: got 100001"),
        ((81, 0, 480), "width: got 0"),
        ((81, 832, -16), "height: got -16"),
        ((81, 20_000, 480), "width: got 20000"),
    ],
)
def test_sizes_no_clip_has(given, complaint):
    with pytest.raises(GeometryError, match=complaint):
        fitted_clip(*given)


def test_an_area_alone_gets_wans_shape():
    assert [default_size(area) for area in (None, 64 * 64, 1280 * 720)] == [
        (832, 480),
        (64, 64),
        (1248, 736),
    ]


@pytest.mark.parametrize(
    ("name", "value"), [("steps", 0), ("cfg", -1.0), ("cfg", float("nan")), ("cfg", float("inf"))]
)
def test_settings_no_run_has(name, value):
    with pytest.raises(SamaError, match=f"{name}: got"):
        Request(ClipShape(5, 32, 32), **{name: value})


def test_cfg_one_runs_the_model_once():
    assert [Request(ClipShape(5, 32, 32), cfg=cfg).calls for cfg in (0.0, 1.0, 1.5, 5.0)] == [
        2,
        1,
        2,
        2,
    ]


# frames, width, height: tokens, PFLOP, share of attention; and PFLOP as an earlier study of ours
# counted them.
POINTS = [
    ((81, 832, 480), 65_585, 5_121_446_574_325_760, 0.688, 5.37),
    ((49, 832, 480), 40_625, 2_342_520_525_455_360, 0.577, 2.49),
    ((81, 640, 384), 40_385, 2_320_754_604_277_760, 0.576, 2.47),
    ((33, 832, 480), 28_145, 1_335_829_684_060_160, 0.486, 1.44),
    ((81, 1280, 720), 151_265, 22_426_361_801_768_960, 0.836, 23.0),
]


def latent(frames: int, width: int, height: int):
    return ClipShape(frames, height, width).latent()


@pytest.mark.parametrize(("clip", "tokens", "total", "attention", "_study"), POINTS)
def test_work_of_the_released_model(clip, tokens, total, attention, _study):
    found = forward_flops(RELEASED_CONFIG, latent(*clip))
    assert sequence_tokens(RELEASED_CONFIG, latent(*clip)) == tokens
    assert found.total == total
    assert found.attention_share == pytest.approx(attention, abs=5e-4)


@pytest.mark.parametrize(("clip", "tokens", "total", "_attention", "study"), POINTS)
def test_the_earlier_study_took_the_texts_keys_and_values_for_every_token(
    clip, tokens, total, _attention, study
):
    """It left attention to the text out, and had k and v of the text computed for all tokens
    instead of 512."""
    width, layers = RELEASED_CONFIG.dim, RELEASED_CONFIG.num_layers
    theirs = total + layers * (4 * (tokens - TEXT_ROWS) * width**2 - 4 * tokens * TEXT_ROWS * width)
    assert f"{theirs / 1e15:.3g}" == f"{study:g}"


@pytest.mark.parametrize("source", [True, False])
def test_work_is_what_torch_counts(source):
    """Two of the forty blocks, on the meta device, 33 frames of 832x480."""
    config, size = dataclasses.replace(RELEASED_CONFIG, num_layers=2), latent(33, 832, 480)
    model = SamaDiT(config, device="meta", dtype=torch.bfloat16)

    def empty(*shape):
        return torch.empty(shape, device="meta", dtype=torch.bfloat16)

    video = (1, 16, size.frames, size.height, size.width)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model(
            empty(*video),
            torch.empty(1, device="meta"),
            empty(1, 512, 4096),
            empty(*video) if source else None,
            empty(1, 65, 1152),
        )
    assert counter.get_total_flops() == pytest.approx(
        forward_flops(config, size, source).total, rel=2e-3
    )
