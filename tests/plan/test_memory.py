"""Plans: what stays on the card, what is streamed, and the nearest setting that fits."""

from dataclasses import replace

import pytest

from sama_core.errors import GeometryError, SamaError
from sama_core.geometry import ClipShape
from sama_core.plan import request as request_module
from sama_core.plan.budget import Load, budget
from sama_core.plan.machine import CPU, GIB, MIB, MPS, NVIDIA, OTHER_GPU, Machine, windows_reserve
from sama_core.plan.planning import options
from sama_core.plan.request import Request, default_size, fitted_clip

LOAD = Load(weights=20 * GIB, layer=0, activations=4 * GIB, guided=False, beside=8 * GIB)
ESTIMATED = Machine(
    NVIDIA, "a card", 24 * GIB, 24 * GIB, 64 * GIB, 64 * GIB, reserved=0, dynamic=False, streams=2
)


def near(placed) -> tuple[float, float, float]:
    return tuple(round(value / GIB, 2) for value in (placed.kept, placed.streamed, placed.peak))


# --- core's rule -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("free", "kept", "streamed"), [(24, 20, 0), (23, 19, 1), (12, 8, 12), (4, 0, 20), (3, 0, 20)]
)
def test_weights_get_what_activations_leave(free, kept, streamed):
    placed = budget(LOAD, replace(ESTIMATED, free_vram=free * GIB))
    assert near(placed)[:2] == (kept, streamed)
    assert placed.short_vram == max(0, 4 - free) * GIB


def test_reserve_and_least_free_memory():
    """ComfyUI keeps 0.8 GiB and its reserve free, however small the activations are."""
    small = replace(LOAD, activations=10 * MIB)
    assert (
        near(budget(small, replace(ESTIMATED, free_vram=10 * GIB, reserved=GIB)))[0] == 10 - 1 - 0.8
    )


def test_layers_on_their_way_take_room():
    """Three of them with two streams, and only where something is streamed."""
    layered = replace(LOAD, layer=GIB)
    assert near(budget(layered, replace(ESTIMATED, free_vram=12 * GIB))) == (5, 15, 12)
    assert near(budget(layered, replace(ESTIMATED, free_vram=12 * GIB, streams=0))) == (7, 13, 12)
    assert near(budget(layered, ESTIMATED)) == (20, 0, 24)


@pytest.mark.parametrize(
    ("mode", "kept", "short"), [("normal", 8, 0), ("low", 8, 0), ("no", 0, 0), ("high", 20, 12)]
)
def test_modes_of_the_command_line(mode, kept, short):
    placed = budget(LOAD, replace(ESTIMATED, free_vram=12 * GIB, vram_mode=mode))
    assert (placed.kept, placed.short_vram) == (kept * GIB, short * GIB)


def test_cards_of_other_makers_hold_at_least_two_fifths_of_weights():
    placed = budget(LOAD, replace(ESTIMATED, kind=OTHER_GPU, free_vram=5 * GIB))
    assert near(placed)[:2] == (2, 18)
    assert placed.short_vram == GIB


def test_gguf_files_do_not_move():
    """Their loader's patcher knows no dynamic VRAM, so core estimates, and RAM holds all of the weights."""
    machine = replace(ESTIMATED, free_vram=12 * GIB, dynamic=True)
    request = Request(ClipShape(33, 480, 832))
    gguf = request.with_weights(request.weights.as_format("GGUF Q8_0", 8.5))
    assert request.load(machine).moves and not gguf.load(machine).moves
    assert budget(replace(LOAD, moves=False), machine) == budget(
        LOAD, replace(machine, dynamic=False)
    )


@pytest.mark.parametrize(
    ("free", "dynamic", "batched", "kept"),
    [
        (31, False, False, 20),
        (34, False, True, 20),
        (12, True, False, 8),
        (13, True, True, 5),
        (24, True, True, 16),
    ],
)
def test_guided_steps_run_as_one_call_where_half_as_much_again_fits(free, dynamic, batched, kept):
    """Core's rule on 2 x 4 GiB of activations. With dynamic VRAM weights give way to the second sample."""
    guided = replace(LOAD, guided=True)
    placed = budget(guided, replace(ESTIMATED, free_vram=free * GIB, dynamic=dynamic))
    assert (placed.batched, placed.kept) == (batched, kept * GIB)
    assert placed.activations == (8 if batched else 4) * GIB
    assert placed.fits


@pytest.mark.parametrize(
    ("dynamic", "ram", "short"), [(False, 30, 0), (False, 29, 1), (True, 22, 0), (True, 21, 1)]
)
def test_ram_holds_all_weights_or_with_dynamic_vram_those_off_the_card(dynamic, ram, short):
    """20 of weights, 8 beside, 2 for ComfyUI; 8 lie on the card."""
    machine = replace(ESTIMATED, free_vram=12 * GIB, free_ram=ram * GIB, dynamic=dynamic)
    assert budget(LOAD, machine).short_ram == short * GIB


@pytest.mark.parametrize(
    ("slices", "feed_forward", "again"), [(1, 10, 0), (2, 10, 2), (2, 7, 0), (2, 8, 0)]
)
def test_feed_forwards_are_kept_first_and_what_is_left_of_them_crosses_once_a_slice(
    slices, feed_forward, again
):
    """8 GiB are kept, 12 streamed."""
    load = replace(LOAD, feed_forward=feed_forward * GIB, slices=slices)
    placed = budget(load, replace(ESTIMATED, free_vram=12 * GIB))
    assert (placed.again, placed.traffic) == (again * GIB, (12 + again) * GIB)


@pytest.mark.parametrize(("clip", "slices"), [((81, 480, 832), 2), ((5, 480, 832), 1)])
def test_feed_forwards_of_a_request(clip, slices):
    """2 x 5120 x 13,824 in each of 40 blocks, two bytes each and the heads' share; whole up to 8,192 tokens."""
    load = Request(ClipShape(*clip)).load(ESTIMATED)
    assert (load.feed_forward, load.slices) == (11_334_668_840, slices)


@pytest.mark.parametrize("kind", [CPU, MPS])
def test_without_a_card_everything_is_in_ram(kind):
    placed = budget(LOAD, Machine(kind, free_ram=34 * GIB))
    assert (placed.ram, placed.streamed, placed.fits) == (34 * GIB, 0, True)
    assert budget(LOAD, Machine(kind, free_ram=33 * GIB)).short_ram == GIB


def test_unknown_ram_is_no_obstacle():
    assert budget(LOAD, replace(ESTIMATED, free_ram=None)).fits


def test_windows_keeps_more_free():
    assert [windows_reserve(size * GIB) // MIB for size in (8, 15, 16)] == [600, 600, 700]


# --- requests ----------------------------------------------------------------------------------


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


# --- advice ------------------------------------------------------------------------------------


@pytest.fixture
def plain_activations(monkeypatch):
    """A tenth of a MiB for every token, so that expectations can be worked out by hand."""

    def law(config, latent, batch=1, element_size=2, source=True):
        return batch * 2 * latent.tokens() * MIB // 10

    monkeypatch.setattr(request_module, "estimated_bytes", law)


def words(request: Request, machine: Machine, good=lambda placed: placed.fits) -> list[str]:
    return [option.text for option in options(request, machine, good)]


def test_the_largest_clip_that_fits_is_offered(plain_activations):
    """81 frames of 832x480 are 65,520 tokens: 6.4 GiB of activations. 4 GiB, less three layers of 135 MiB on their
    way, hold 36,910 tokens: 11 latent frames, or 21 of 576x352."""
    machine = replace(ESTIMATED, free_vram=4 * GIB)
    request = Request(ClipShape(81, 480, 832), cfg=1.0)
    assert words(request, machine) == ["41 frames", "frames of 576x352"]


def test_a_smaller_file_is_offered_where_ram_is_short(plain_activations):
    """26.7 GiB of weights, 7.2 beside and 2 for ComfyUI do not go into 32 GiB; no shorter clip helps that."""
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
