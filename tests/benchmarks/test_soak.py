"""`benchmarks/soak`: its short form on a server, and the line through the memory."""

import pytest

from benchmarks.soak import __main__ as bench
from benchmarks.soak.cases import CASES
from benchmarks.soak.slope import fit_slope, list_floors, plot
from benchmarks.soak.watch import WATCHED, Place, list_files

from ..harness.comfy_home import comfy_source

LATEST = 8
"""Results of whole videos that stay in the temporary folder for nodes that read them later."""


def rows_of(heights, server=0, first=0):
    return [
        {"server": server, "number": number, "rss": height, "anonymous": 1, "quiet": True}
        | {"right": True, "files": {"temp": 1}, "bytes": 9, "handles": 3, "threads": 5}
        for number, height in enumerate(heights, first)
    ]


# --- the line ----------------------------------------------------------------------------------


def test_the_slope_leaves_the_warm_up_out():
    rows = rows_of([0, 500, 9000, 9010, 9020, 9030, 9040, 9050, 9060, 9070])
    assert fit_slope(rows, 10) == {"edits": 8, "slope": 10.0, "standard_error": 0.0}


def test_an_edit_while_others_run_does_not_count():
    rows = rows_of([0, 500, 9000, 9010, 9020, 9030, 9040, 9050, 9060, 9070])
    rows[4] |= {"rss": 77, "quiet": False}
    assert fit_slope(rows, 10)["edits"] == 7 and fit_slope(rows, 10)["slope"] == pytest.approx(10)


def test_servers_of_a_continued_run_have_one_slope_and_heights_of_their_own():
    rows = rows_of([7, 7, 100, 110, 120, 130]) + rows_of([7, 7, 900, 910, 920, 930], 1, 6)
    rows += rows_of([5000, 9000], 2, 12)
    found = fit_slope(rows, 10)
    assert (found["edits"], found["slope"]) == (8, pytest.approx(10))


def test_scatter_is_in_the_standard_error():
    found = fit_slope(rows_of([0, 0, 1, 0, 1, 0, 1, 0, 1, 0]), 10)
    # Squares of the eight places: 42; of the values: 2, of which the line explains 4 / 42.
    assert found["slope"] == pytest.approx(-2 / 42)
    assert found["standard_error"] == pytest.approx(((2 - 4 / 42) / 6 / 42) ** 0.5)


def test_too_few_edits_have_no_slope():
    assert fit_slope(rows_of([1, 2, 3]), 3)["slope"] is None
    assert fit_slope([], 1)["slope"] is None


def test_the_floor_of_each_part():
    assert list_floors(rows_of([5, 3, 9, 4, 8, 8]), 3) == [3, 4, 8]
    assert list_floors(rows_of([5, 3]), 10) == [5, 3]


@pytest.mark.parametrize(
    "change, fault",
    [
        ({}, []),
        ({"right": False}, ["1 results are not right"]),
        ({"files": {"temp": 99}}, ["files stay: 99 at once"]),
        ({"rss": 9e9}, []),  # the line is not known well enough
        ("steep", ["memory grows by 30.0 KB an edit"]),
        ("flat", []),
    ],
)
def test_what_is_wrong_is_said(tmp_path, change, fault):
    rows = rows_of(
        [number * {"steep": 30_000, "flat": 19_000}.get(str(change), 0) for number in range(20)]
    )
    rows[-1] |= change if isinstance(change, dict) else {}
    left = {"right": True, "of_a_half_upload": []}
    clients = {"edits_at_once": [], "left": left, "still_queued": 0}
    faults = bench.judge(rows, clients, 20)["faults"]
    assert len(faults) == len(fault) and all(map(str.startswith, faults, fault))
    plot(rows, 20, tmp_path / "soak.png")
    assert (tmp_path / "soak.png").read_bytes()[:4] == b"\x89PNG"


# --- on a server -------------------------------------------------------------------------------


def test_twelve_edits_six_clients_and_one_that_leaves(comfy_server, tmp_path):
    """Every result is the reference's, the queue is empty, and no file stays but the latest results
    in the temporary folder, of which there are never more than eight.
    """
    place = Place(comfy_server.url, comfy_server.process.process.pid, comfy_server.base)

    def files():
        found = {name: sorted(list_files(place.base / name)) for name in WATCHED}
        latest = [file for file in found["temp"] if file.startswith("sama_results/")]
        assert len(latest) <= LATEST
        return found | {"temp": sorted(set(found["temp"]) - set(latest))}

    bench.make_references(tmp_path, comfy_source(), {})
    others = comfy_server.client._json("/history").keys()  # other tests use this server too
    before, rows = files(), []
    bench.add_edits(place, tmp_path, rows, 8)
    with (tmp_path / bench.ROWS).open("a") as file:
        file.write('{"number": 8, "cut o')  # as where the run was killed
    rows = bench.read_rows(tmp_path)
    assert [row["number"] for row in rows] == list(range(8))
    bench.add_edits(place, tmp_path, rows, 12)
    clients = bench.meet_clients(place, tmp_path, 6, 1)
    assert [(row["server"], row["number"]) for row in rows] == [
        *((0, number) for number in range(8)),
        *((1, number) for number in range(8, 12)),
    ]
    assert [row["number"] for row in rows if row["quiet"]] == [5, 7, 11]
    assert [row["case"] for row in rows] == [CASES[number % 6].name for number in range(12)]
    many = [*clients["edits_at_once"], clients["left"]]
    assert [found for found in [*rows, *many] if not found["right"]] == []
    assert len(many) == 7 and {found["farthest"] for found in [*rows, *many]} == {0}
    assert clients["left"]["left_in_the_middle"] and clients["left"]["of_a_half_upload"] == []
    assert clients["still_queued"] == 0
    assert comfy_server.client._json("/history").keys() == others
    assert files() == before
    assert (
        max(sum(row["files"].values()) for row in rows)
        <= sum(map(len, before.values())) + 6 + LATEST
    )
    assert bench.judge(rows, clients, 12)["right"] == 19
