"""The simulation of a batch on many servers, on a few."""

from benchmarks.batch_scale import World, simulate


def test_every_row_ends_once_whatever_dies(monkeypatch):
    monkeypatch.setattr("benchmarks.batch_scale.SERVER_DIES", 0.2)
    monkeypatch.setattr("benchmarks.batch_scale.EDIT_FAILS", 0.1)
    world = World(speed=20_000, seconds=400.0, seed=1)
    found = simulate(world, clips=60, servers=4)
    assert sum(found["rows"].values()) == 60 and found["rows"]["failed"] >= 3
    assert found["deaths"] >= 5 and found["server_hours"]["lost"] > 0


def test_one_clip_is_spread():
    found = simulate(World(speed=20_000, seconds=400.0, seed=1), 1, servers=4, segments=40)
    assert found["rows"] == {"done": 1} and found["server_hours"]["used"] > 4
