"""The dry run's time: the plan's law, summed over edits and shared by servers."""

import pytest

from sama_core.geometry import DEFAULT_AREA
from sama_core.launch.batch.batch_rows import Settings
from sama_core.launch.batch.planned_time import Model, edit_seconds, machine_of, total_seconds
from sama_core.launch.server.client import Client
from sama_core.plan.machine import CPU, GIB, NVIDIA, Machine
from sama_core.plan.weight_bytes import RELEASED, RELEASED_CONFIG

from ..stand_ins import answering

MODEL = Model(RELEASED_CONFIG, RELEASED, DEFAULT_AREA)
CARD = Machine(
    NVIDIA, "NVIDIA GeForce RTX 4090", 24 * GIB, 24 * GIB, free_ram=64 * GIB, total_ram=64 * GIB
)
SIZE = {"width": 832, "height": 480, "frames": 81}
SETTINGS = Settings("x", 1, 0, -1.0)


def test_one_edit_takes_what_the_plan_says():
    """The README's row of the 24 GB card: 1.4 to 2.5 h."""
    span = edit_seconds(SETTINGS, SIZE, MODEL, CARD, [])
    assert (round(span.low / 3600, 1), round(span.high / 3600, 1)) == (1.4, 2.5)


def test_a_long_clip_takes_its_segments():
    """Of 81 frames, 16 of them shared and one not used: 601 frames are ten."""
    one = edit_seconds(SETTINGS, SIZE, MODEL, CARD, [])
    long = edit_seconds(SETTINGS, {**SIZE, "frames": 601}, MODEL, CARD, [])
    assert (long.low, long.high) == pytest.approx((10 * one.low, 10 * one.high))


def test_servers_share_the_edits_each_as_fast_as_it_is():
    edits = [(SETTINGS, SIZE)] * 6
    one = edit_seconds(SETTINGS, SIZE, MODEL, CARD, [])
    alone = total_seconds(edits, MODEL, [CARD], [])
    assert alone.low == pytest.approx(6 * one.low) and alone.high == pytest.approx(6 * one.high)
    assert total_seconds(edits, MODEL, [CARD] * 3, []).low == pytest.approx(2 * one.low)
    assert total_seconds(edits, MODEL, [CARD, Machine(NVIDIA, "unheard of")], []) is None


def test_impossible_sizes_do_not_count():
    edits = [(SETTINGS, SIZE), (SETTINGS, {"width": 0, "height": 5, "frames": 3})]
    one = edit_seconds(SETTINGS, SIZE, MODEL, CARD, [])
    assert total_seconds(edits, MODEL, [CARD], []).low == pytest.approx(one.low)


@pytest.mark.parametrize(
    ("device", "kind", "card"),
    [
        (b'"type": "cuda", "name": "cuda:0 NVIDIA L4 : cudaMallocAsync"', NVIDIA, "NVIDIA L4"),
        (b'"type": "cuda", "name": "cuda:0 NVIDIA L4"', NVIDIA, "NVIDIA L4"),
        (b'"type": "cpu", "name": "cpu"', CPU, None),
    ],
)
def test_a_servers_machine_is_asked_for(monkeypatch, device, kind, card):
    monkeypatch.setattr("sama_core.launch.batch.planned_time.HERE", set())
    told = (
        b'{"system": {"ram_total": 9, "ram_free": 8}, "devices": [{%s, "vram_total": 7, ' % device
    )
    with answering((200, {}, told + b'"vram_free": 6}]}')) as url:
        machine = machine_of(Client(url))
    assert (machine.kind, machine.card, machine.free_ram, machine.total_ram) == (kind, card, 8, 9)
    assert machine.total_vram == (7 if card else 0)
