"""What stays on the card and what is streamed, by core's rule."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from sama_core.geometry import ClipShape
from sama_core.plan import machine
from sama_core.plan.budget import Load, budget
from sama_core.plan.cards import name_machine
from sama_core.plan.machine import CPU, GIB, MIB, MPS, NVIDIA, OTHER_GPU, Machine, usual_reserve
from sama_core.plan.request import Request

from .machines import ESTIMATED

LOAD = Load(weights=20 * GIB, layer=0, activations=4 * GIB, guided=False, beside=8 * GIB)


def near(placed) -> tuple[float, float, float]:
    return tuple(round(value / GIB, 2) for value in (placed.kept, placed.streamed, placed.peak))


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


@pytest.mark.parametrize("mode", ["normal", "low", "no", "high"])
@pytest.mark.parametrize("kind", [NVIDIA, OTHER_GPU])
def test_dynamic_vram_knows_no_modes(mode, kind):
    """With --enable-dynamic-vram beside --highvram weights still give way, and none are missing;
    those of a GGUF file, which cannot move, all go to the card.
    """
    machine = replace(ESTIMATED, kind=kind, free_vram=12 * GIB, vram_mode=mode, dynamic=True)
    placed = budget(LOAD, machine)
    assert (placed.kept, placed.short_vram) == (8 * GIB, 0)
    assert budget(LOAD, replace(machine, free_vram=5 * GIB)).kept == GIB
    still = budget(replace(LOAD, moves=False), replace(machine, kind=NVIDIA))
    assert still.kept == {"no": 0, "high": 20 * GIB}.get(mode, 8 * GIB)


def test_cards_of_other_makers_hold_at_least_two_fifths_of_weights():
    placed = budget(LOAD, replace(ESTIMATED, kind=OTHER_GPU, free_vram=5 * GIB))
    assert near(placed)[:2] == (2, 18)
    assert placed.short_vram == GIB


def test_gguf_files_do_not_move():
    """Their loader's patcher knows no dynamic VRAM, so core estimates, and RAM holds all of the
    weights."""
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
    """Core's rule on 2 x 4 GiB of activations.

    With dynamic VRAM weights give way to the second sample.
    """
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


@pytest.mark.parametrize("kind", [CPU, MPS])
def test_without_a_card_everything_is_in_ram(kind):
    placed = budget(LOAD, Machine(kind, free_ram=34 * GIB))
    assert (placed.ram, placed.streamed, placed.fits) == (34 * GIB, 0, True)
    assert budget(LOAD, Machine(kind, free_ram=33 * GIB)).short_ram == GIB


def test_unknown_ram_is_no_obstacle():
    assert budget(LOAD, replace(ESTIMATED, free_ram=None)).fits


def test_windows_keeps_more_free(monkeypatch):
    assert {usual_reserve(size * GIB) // MIB for size in (8, 15, 16)} == {400}
    monkeypatch.setattr(machine, "sys", SimpleNamespace(platform="win32"))
    assert [usual_reserve(size * GIB) // MIB for size in (8, 15, 16)] == [600, 600, 700]
    assert name_machine("RTX 4090").reserved == 700 * MIB
