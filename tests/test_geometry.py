"""Frame counts, sizes and buckets: the official tables row by row, and what the types refuse."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sama_core.errors import GeometryError
from sama_core.geometry import (
    DEFAULT_AREA,
    ClipShape,
    LatentShape,
    buckets,
    choose_bucket,
    crop_box,
    pad_frame_count,
    round_up_size,
)

from .harness.golden import load_golden

TABLES = load_golden("resolutions_frames").manifest
AREAS = {table["target_pixels"]: table for table in TABLES["areas"]}
ROWS = [(area, *row["input_wh"], row) for area, table in AREAS.items() for row in table["table"]]


@pytest.mark.parametrize("area", AREAS)
def test_buckets_are_the_official_ones(area):
    assert buckets(area) == [tuple(size) for size in AREAS[area]["buckets_wh"]]


@pytest.mark.parametrize(
    ("area", "width", "height", "row"), ROWS, ids=[f"{a}-{w}x{h}" for a, w, h, _ in ROWS]
)
def test_bucket_and_crop_are_the_official_ones(area, width, height, row):
    target = choose_bucket(width, height, area)
    assert target == tuple(row["target_wh"])
    assert crop_box(width, height, *target) == tuple(row["crop_box_left_top_right_bottom"])


@pytest.mark.parametrize("row", TABLES["frames"], ids=lambda row: str(row["decoded"]))
def test_frame_counts_are_the_official_ones(row):
    padded = pad_frame_count(row["decoded"])
    assert padded == row["after_cli_padding"] == row["returned_frames"]
    assert (padded != row["decoded"]) is row["padded_flag"]
    assert pad_frame_count(padded) == row["pipeline_shape_check_num_frames"]
    assert ClipShape(padded, 16, 16).latent().frames == row["latent_frames"]


@pytest.mark.parametrize(
    "row", TABLES["height_width_rounding"], ids=lambda row: "x".join(map(str, row["input_hw"]))
)
def test_sizes_round_up_as_the_official_ones(row):
    height, width = row["input_hw"]
    assert round_up_size(width, height) == tuple(reversed(row["output_hw"]))


def test_default_area_is_the_first_table():
    assert next(iter(AREAS)) == DEFAULT_AREA == 399_360


@pytest.mark.parametrize(("frames", "tokens"), [(49, 20_280), (81, 32_760), (1, 1_560)])
def test_token_counts_at_480_by_832(frames, tokens):
    latent = ClipShape(frames, 480, 832).latent()
    assert latent == LatentShape((frames + 3) // 4, 60, 104)
    assert latent.tokens() == tokens


@settings(deadline=None)
@given(st.integers(0, 300), st.integers(1, 200), st.integers(1, 200))
def test_a_clip_and_its_latent_are_inverse(latent_frames, height, width):
    clip = ClipShape(4 * latent_frames + 1, 16 * height, 16 * width)
    assert clip.latent().clip() == clip


@pytest.mark.parametrize("area", [1, 512, 1024, 2047, 2048])
def test_tiny_areas_have_a_bucket(area):
    """The reference divides by zero below 2048 pixels; here a bucket is at least 32x32."""
    assert buckets(area) and all(min(size) >= 32 for size in buckets(area))


@pytest.mark.parametrize(("size", "bucket"), [((3, 2), (128, 64)), ((3, 4), (96, 96))])
def test_first_bucket_wins_a_tie(size, bucket):
    """The buckets' aspects are 2, 1 and 0.5; these sizes lie exactly between two of them."""
    assert buckets(8192) == [(128, 64), (96, 96), (64, 128)]
    assert choose_bucket(*size, 8192) == bucket


@settings(deadline=None)
@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 40), st.integers(1, 40))
@example(1, 1, 1, 2)
@example(1, 1, 2, 1)
def test_crop_keeps_one_side_is_centred_and_fits_the_aspect(width, height, columns, rows):
    target_width, target_height = 32 * columns, 32 * rows
    left, top, right, bottom = crop_box(width, height, target_width, target_height)
    assert 0 <= left < right <= width and 0 <= top < bottom <= height
    assert (left, right) == (0, width) or (top, bottom) == (0, height)
    assert 0 <= (width - right) - left <= 1 and 0 <= (height - bottom) - top <= 1
    kept_width, kept_height = right - left, bottom - top
    ideal = (
        min(width, height * target_width / target_height),
        min(height, width * target_height / target_width),
    )
    assert max(1, ideal[0] - 1.001) <= kept_width <= max(1, ideal[0] + 1e-6)
    assert max(1, ideal[1] - 1.001) <= kept_height <= max(1, ideal[1] + 1e-6)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (
            lambda: pad_frame_count(0),
            "frame count: got 0, needs at least 1 frame. Check the start frame",
        ),
        (
            lambda: ClipShape(0, 64, 64).latent(),
            "frame count: got 0, needs 4k\\+1 frames .* Use 1 frames",
        ),
        (
            lambda: ClipShape(-3, 64, 64).latent(),
            "frame count: got -3, needs 4k\\+1 frames .* Use 1 frames",
        ),
        (
            lambda: ClipShape(48, 64, 64).latent(),
            "frame count: got 48, needs 4k\\+1 frames .* Use 49 frames",
        ),
        (
            lambda: ClipShape(5, 47, 33).latent(),
            "frame size: got 33x47, needs .* multiples of 16. Use 48x48",
        ),
        (
            lambda: ClipShape(5, 64, 0).latent(),
            "frame size: got 0x64, needs .* multiples of 16. Use 16x64",
        ),
        (lambda: ClipShape(5, 64, 72).latent(), "frame size: got 72x64, .* Use 80x64"),
        (
            lambda: LatentShape(2, 5, 6).tokens(),
            "latent size: got 6x5, needs an even width and height. .* 16 pixels",
        ),
        (
            lambda: LatentShape(2, 6, 5).tokens(),
            "latent size: got 5x6, needs an even width and height",
        ),
        (
            lambda: choose_bucket(0, 480),
            "frame size: got 0x480, needs at least 1x1 pixels. Check the video file",
        ),
    ],
)
def test_refusals_say_got_needed_and_what_to_set(act, message):
    with pytest.raises(GeometryError, match=message):
        act()
