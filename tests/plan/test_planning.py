"""The nearest settings that fit."""

from dataclasses import replace

import pytest

from sama_core.geometry import ClipShape
from sama_core.plan import request as request_module
from sama_core.plan.machine import GIB, MIB, Machine
from sama_core.plan.planning import options
from sama_core.plan.request import Request

from .machines import ESTIMATED


@pytest.fixture
def plain_activations(monkeypatch):
    """A tenth of a MiB for every token, so that expectations can be worked out by hand."""

    def law(config, latent, batch=1, element_size=2, source=True):
        return batch * 2 * latent.tokens() * MIB // 10

    monkeypatch.setattr(request_module, "estimated_bytes", law)


def words(request: Request, machine: Machine, good=lambda placed: placed.fits) -> list[str]:
    return [option.text for option in options(request, machine, good)]


def test_the_largest_clip_that_fits_is_offered(plain_activations):
    """81 frames of 832x480 are 65,520 tokens: 6.4 GiB of activations. 4 GiB, less three layers of
    135 MiB on their way, hold 36,910 tokens: 11 latent frames, or 21 of 576x352."""
    machine = replace(ESTIMATED, free_vram=4 * GIB)
    request = Request(ClipShape(81, 480, 832), cfg=1.0)
    assert words(request, machine) == ["41 frames", "frames of 576x352"]


def test_a_smaller_file_is_offered_where_ram_is_short(plain_activations):
    """26.7 GiB of weights, 7.2 beside and 2 for ComfyUI do not go into 32 GiB; no shorter clip
    helps that."""
    machine = replace(ESTIMATED, free_ram=32 * GIB)
    assert words(Request(ClipShape(81, 480, 832), cfg=1.0), machine) == ["an fp8 file"]


def test_several_changes_at_once_where_one_is_not_enough(plain_activations):
    """The clip keeps most pixels of what fits; then the largest file is taken."""
    machine = replace(ESTIMATED, free_vram=2 * GIB, free_ram=20 * GIB)
    assert words(Request(ClipShape(81, 480, 832), cfg=1.0), machine) == [
        "a GGUF Q5_1 file and 49 frames of 576x320"
    ]


def test_nothing_is_offered_where_nothing_helps(plain_activations):
    assert words(Request(ClipShape(81, 480, 832)), replace(ESTIMATED, free_vram=0)) == []
    assert words(Request(ClipShape(1, 32, 32)), replace(ESTIMATED, free_ram=GIB)) == []


def test_what_would_keep_all_weights_on_the_card(plain_activations):
    machine = replace(ESTIMATED, free_vram=24 * GIB)
    good = [
        option.text
        for option in options(
            Request(ClipShape(81, 480, 832), cfg=1.0),
            machine,
            lambda placed: placed.fits and not placed.streamed,
        )
    ]
    assert good == ["an fp8 file"]
