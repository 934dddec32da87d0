"""Buckets, weights, windows, rates, folders, and reading ahead: which sample is when."""

import logging
from collections import Counter
from pathlib import Path

import pytest
import torch

from sama_core import embedded
from sama_core.geometry import ClipShape
from sama_core.training.recipe import ConfigError
from sama_core.training.rows.clips_config import ClipsConfig
from sama_core.training.rows.data import RowsData
from sama_core.training.rows.frames import draw_start, list_starts
from sama_core.training.rows.frozen_encoders import FrozenEncoders, load_text_encoder, load_vae
from sama_core.training.rows.order import Group, count_in_round
from sama_core.training.rows.read_ahead import ReadAhead
from sama_core.training.rows.rows import Row, RowError, read_rows
from sama_core.training.semantics import PixelEncoder

from ..harness.untrained import FILES
from ..harness.write_clip import write_clip
from .rows_files import BLUE, GREEN, RED, clip, config, image, jsonl, models, pair


@pytest.fixture(scope="module")
def encoders() -> FrozenEncoders:
    text, tokens = load_text_encoder(models() / "text_encoders" / FILES["text_encoders"])
    return FrozenEncoders(load_vae(embedded.VAE), text, tokens, PixelEncoder())


@pytest.fixture
def folder(tmp_path):
    """Clips of two shapes and two lengths, and images of two shapes."""
    for name, colour in (("a", RED), ("b", BLUE)):
        clip(tmp_path / f"{name}.mp4", colour)
        clip(tmp_path / f"{name}_long.mp4", colour, frames=9)
        clip(tmp_path / f"{name}_wide.mp4", colour, size=(64, 128))
        image(tmp_path / f"{name}.webp", colour)
        image(tmp_path / f"{name}_wide.jpg", colour, size=(64, 128))
    clip(tmp_path / "short.mp4", RED, frames=3)
    return tmp_path


ROWS = [
    pair(f"a{ending}", f"b{ending}", "make it blue")
    for ending in (".mp4", "_long.mp4", "_wide.mp4", ".webp", "_wide.jpg")
]


def data_of(folder, encoders, rows=ROWS, **changes) -> RowsData:
    clips = changes.pop("clips", None)
    values = {"image_share": 0.4, "batch_size": 2, "height": 32, "width": 32, "steps": 40}
    path = rows if isinstance(rows, Path) else jsonl(folder / "data.jsonl", rows)
    table = None if clips is None else ClipsConfig(**{"cache": False, **clips})
    return RowsData(config(path, folder / "out", clips=table, **(values | changes)), encoders)


def rows_of(batch) -> list[int]:
    return [int(name.split()[3]) for name in batch.names]


# --- buckets -----------------------------------------------------------------------------------

BUCKETS = {"buckets": True, "lengths": (9,), "workers": 2}
LARGE = {"height": 96, "width": 96}


def test_a_batch_has_one_shape_and_every_shape_comes(folder, encoders):
    """96x96 pixels are shared out as the clip's own shape says; the longest length is taken."""
    data = data_of(folder, encoders, clips=BUCKETS, **LARGE)
    seen: dict[tuple, Counter] = {}
    for step in range(16):
        batch = data.batch(step, slice(0, 2))
        seen.setdefault(tuple(batch.target_latents.shape), Counter()).update(rows_of(batch))
    assert {shape: set(rows) for shape, rows in seen.items()} == {
        (2, 16, 2, 12, 12): {1},
        (2, 16, 3, 12, 12): {2},
        (2, 16, 2, 8, 16): {3},
        (2, 16, 1, 12, 12): {4},
        (2, 16, 1, 8, 16): {5},
    }


def test_buckets_are_a_function_of_seed_and_step(folder, encoders):
    """A process that begins at step 7, or works on the second half, sees the same."""
    run = [data_of(folder, encoders, clips=BUCKETS).batch(step, slice(0, 2)) for step in range(9)]
    late = data_of(folder, encoders, clips=BUCKETS)
    late.process = (1, 2)
    for step in (7, 8):
        half = late.batch(step, slice(1, 2))
        assert half.names == run[step].names[1:]
        assert torch.equal(half.target_latents, run[step].target_latents[1:])
    other = data_of(folder, encoders, clips=BUCKETS, seed=1)
    assert [one.names for one in run] != [other.batch(step, slice(0, 2)).names for step in range(9)]


def test_a_bucket_without_a_good_row_gives_its_steps_to_another(folder, encoders):
    rows = [ROWS[0], pair("cut.mp4", "cut.mp4", "x")]
    clip(folder / "cut.mp4", RED, size=(64, 128))
    data = data_of(folder, encoders, rows, clips=BUCKETS, image_share=0.0, **LARGE)
    assert len(data.schedule.groups[False]) == 2
    (folder / "cut.mp4").write_bytes(b"no video")  # after its size was read
    assert {row for step in range(8) for row in rows_of(data.batch(step, slice(0, 2)))} == {1}


def test_clips_that_are_shorter_than_every_length_are_left_out(folder, encoders):
    rows = [*ROWS, pair("a.mp4", "short.mp4", "x")]
    data = data_of(folder, encoders, rows, clips=BUCKETS)
    assert data.bad.reasons == {6: "row 6: got 3 frames, needs 5."}


def test_buckets_and_windows_are_refused_with_a_teacher(folder, encoders):
    for name, value in (("buckets", True), ("windows", 3), ("fps", 8.0), ("lengths", (9,))):
        with pytest.raises(ConfigError, match="clips: got .* needs none of it with"):
            config(
                folder / "data.jsonl",
                folder / "out",
                clips=ClipsConfig(**{name: value}),
                align=_align(),
            )


def _align():
    from sama_core.training.alignment import AlignConfig

    return AlignConfig.of_table({"method": "sam2videox", "teacher": "sam2:folder"}, "recipe")


# --- weights -----------------------------------------------------------------------------------


def group_of(weights) -> Group:
    rows = [Row(n, Path("t.mp4"), None, "", weight=w) for n, w in enumerate(weights, 1)]
    return Group("videos", tuple(rows), ClipShape(5, 32, 32))


def test_rows_come_as_often_as_their_weight_says():
    group = group_of([1, 3, 0.5, 0.25])
    taken = [next(group.candidates(0, place)).number for place in range(19 * 20)]
    assert Counter(taken) == {1: 80, 2: 240, 3: 40, 4: 20}
    again = group_of([1, 3, 0.5, 0.25])
    assert [next(again.candidates(0, place)).number for place in (300, 17)] == [
        taken[300],
        taken[17],
    ]


def test_small_weights_are_spread_over_the_rounds():
    came = [[count_in_round(0.5, number, round_) for round_ in range(6)] for number in (1, 2)]
    assert all(sum(one) == 3 for one in came) and came[0] != came[1]


def test_weights_of_rows_in_a_file(folder, encoders):
    rows = [
        {**ROWS[0], "weight": 2},
        {**ROWS[1], "repeats": 3, "weight": 0.5},
        {**ROWS[2], "weight": 0},
        {**ROWS[3], "weight": "heavy"},
        {**ROWS[3], "repeats": -1},
    ]
    found, bad = read_rows(jsonl(folder / "data.jsonl", rows), 1)
    assert [row.weight for row in found] == [2, 1.5, 0]
    assert bad == {
        4: "row 4: got 'weight' of \"heavy\", needs a number from 0 to 1000.",
        5: "row 5: got 'repeats' of -1, needs a number from 0 to 1000.",
    }
    data = data_of(folder, encoders, rows[:3], image_share=0.0)
    taken = [row for step in range(7) for row in rows_of(data.batch(step, slice(0, 2)))]
    assert Counter(taken) == {1: 8, 2: 6}


# --- windows and rates -------------------------------------------------------------------------


def test_every_weight_of_0_is_told(folder, encoders):
    rows = [{**row, "weight": 0} for row in ROWS[:2]]
    with pytest.raises(
        RowError,
        match="data data.jsonl: got a weight of 0 for every good row with videos, needs a weight "
        "above 0 for one. Set its weight or repeats",
    ):
        data_of(folder, encoders, rows, image_share=0.0)


def test_starts_of_windows():
    assert list(list_starts(20, 5, 0)) == list(range(16))
    assert list_starts(20, 5, 1) == [0] and list_starts(5, 5, 0) == [0] == list_starts(3, 5, 4)
    assert list_starts(20, 5, 4) == [0, 5, 10, 15] and list_starts(7, 5, 9) == [0, 1, 2]
    draws = {draw_start([0, 5, 10], torch.Generator().manual_seed(seed)) for seed in range(30)}
    assert draws == {0, 5, 10}


def test_windows_are_the_same_in_source_and_target(folder, encoders):
    """A clip whose every frame differs, edited into itself: latents are equal, and vary."""
    rows = [pair("a_long.mp4", "a_long.mp4", "x")]
    data = data_of(folder, encoders, rows, image_share=0.0, clips={"windows": 0})
    run = [data.batch(step, slice(0, 2)) for step in range(6)]
    for batch in run:
        assert torch.equal(batch.source_latents, batch.target_latents)
    assert len({batch.target_latents[0].sum().item() for batch in run}) > 2
    again = data_of(folder, encoders, rows, image_share=0.0, clips={"windows": 0})
    assert torch.equal(again.batch(5, slice(1, 2)).target_latents, run[5].target_latents[1:])


@pytest.fixture
def unequal(folder):
    """A source of 8 frames per second and a target of 16 that shows the same motion."""
    from sama_core.clip import ClipRange, FileSource

    frames = list(FileSource(folder / "a_long.mp4").frames(ClipRange()))
    write_clip(folder / "fast.mp4", [frame for frame in frames for _ in range(2)], 16)
    return [pair("a_long.mp4", "fast.mp4", "x"), ROWS[1]]


def test_unequal_rates_are_refused_by_name(folder, encoders, unequal):
    data = data_of(folder, encoders, unequal, image_share=0.0, clips={})
    assert {row for step in range(3) for row in rows_of(data.batch(step, slice(0, 2)))} == {2}
    assert data.bad.reasons == {
        1: "row 1: got a target of 16 frames per second and a source of 8 frames per second, "
        "needs one frame rate, or rates in [clips] that says how they are read."
    }


def mean_difference(data) -> float:
    """Between the frames of source and target of row 1."""
    source, target = data.reader.read_window(data.clips[0], ClipShape(5, 32, 32), 0, False).frames()
    return (source - target).abs().mean().item()


@pytest.mark.parametrize("clips", [{"rates": "resample"}, {"fps": 8}])
def test_unequal_rates_are_resampled_to_one(folder, encoders, unequal, clips):
    data = data_of(folder, encoders, unequal[:1], image_share=0.0, clips=clips)
    assert mean_difference(data) < 0.02
    assert mean_difference(data_of(folder, encoders, unequal[:1], image_share=0.0)) > 0.03
    assert rows_of(data.batch(0, slice(0, 1))) == [1]


def test_without_the_table_they_are_paired_frame_by_frame_with_a_warning(
    folder, encoders, unequal, caplog
):
    data = data_of(folder, encoders, unequal[:1], image_share=0.0)
    with caplog.at_level(logging.WARNING):
        batches = [data.batch(step, slice(0, 2)) for step in range(2)]
    assert not torch.allclose(batches[0].source_latents, batches[0].target_latents, atol=0.1)
    said = [one.message for one in caplog.records]
    assert said == [
        (
            "row 1: target and source have 16 and 8 frames per second and are paired frame by "
            "frame. Set rates in [clips] to resample them."
        )
    ]


# --- a folder ----------------------------------------------------------------------------------


def test_a_folder_of_pairs(folder, encoders):
    pairs = folder / "pairs"
    for place, names in ((pairs, ("one", "two")), (pairs / "3_more", ("three",))):
        place.mkdir()
        for name in names:
            clip(place / f"{name}_source.mp4", RED)
            clip(place / f"{name}_target.mp4", GREEN)
            (place / f"{name}.txt").write_text(f"make {name} green\n", encoding="utf-8")
    image(pairs / "still_source.png", RED)
    image(pairs / "still_target.webp", GREEN)
    (pairs / "still.txt").write_text("\ufeffmake it green", encoding="utf-8")
    clip(pairs / "alone_source.mp4", RED)
    (pairs / "alone.txt").write_text("x")
    clip(pairs / "mute_target.mp4", RED)
    (pairs / "notes.md").write_text("not a row")
    rows, bad = read_rows(pairs, 1)
    assert [(row.number, row.source.name, row.text, row.weight) for row in rows] == [
        (3, "one_source.mp4", "make one green", 1),
        (4, "still_source.png", "make it green", 1),
        (5, "two_source.mp4", "make two green", 1),
        (6, "three_source.mp4", "make three green", 3),
    ]
    assert bad == {
        1: "row 1: got 'alone_source.mp4' without a target, needs a file 'alone_target' with the "
        "ending of a video or image.",
        2: "row 2: got 'mute_target.mp4' without a text, needs 'mute.txt' beside it.",
    }
    data = data_of(folder, encoders, pairs, image_share=0.0)
    taken = [row for step in range(5) for row in rows_of(data.batch(step, slice(0, 2)))]
    assert Counter(taken) == {3: 2, 5: 2, 6: 6}


def test_a_folder_of_clips_and_one_with_a_file_of_rows(folder):
    clips = folder / "clips"
    clips.mkdir()
    clip(clips / "one.mp4", RED)
    (clips / "one.txt").write_text("a red square")
    rows, bad = read_rows(clips, 0)
    assert [(row.source, row.target.name, row.text) for row in rows] == [
        (None, "one.mp4", "a red square")
    ]
    assert bad == {}
    jsonl(folder / "rows.jsonl", ROWS[:1])
    assert [row.text for row in read_rows(folder, 1)[0]] == ["make it blue"]


# --- reading ahead -----------------------------------------------------------------------------


def test_what_is_expected_is_begun_and_taken_once():
    read = []
    ahead = ReadAhead(lambda step, sample: read.append((step, sample)) or (step, sample), 2)
    ahead.expect([(0, 1), (0, 2)])
    assert ahead.take(0, 1) == (0, 1) and ahead.take(0, 2) == (0, 2)
    assert sorted(read) == [(0, 1), (0, 2)]
    assert ahead.take(0, 1) == (0, 1) and len(read) == 3


def test_an_error_is_raised_when_it_is_taken():
    def fail(step, sample):
        raise RowError("row 1: bad")

    ahead = ReadAhead(fail, 1)
    ahead.expect([(0, 0)])
    with pytest.raises(RowError, match="row 1: bad"):
        ahead.take(0, 0)


def test_each_process_reads_its_own_share_ahead(folder, encoders):
    data = data_of(folder, encoders, clips={"workers": 3}, batch_size=4, image_share=0.0, steps=2)
    data.process = (1, 2)
    assert data._upcoming(0, slice(2, 3)) == [(0, 3), (1, 2), (1, 3)]
    assert data._upcoming(1, slice(3, 4)) == []
