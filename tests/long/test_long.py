"""Long clips without ComfyUI: the plan, the blend, the colours, the store."""

import os
import signal
import subprocess
import sys
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sama_core.errors import ClipError, GeometryError
from sama_core.long import (
    Segment,
    SegmentStore,
    anchor_colours,
    blend_in_order,
    blend_segments,
    plan_segments,
    segment_noise,
    segment_seed,
)
from sama_core.long.drift import colour_drift
from sama_core.long.store import Entry, checksum, show_or_clear
from sama_core.long.whole_job import WholeJob, show_or_clear_jobs
from sama_core.version import VERSION
from sama_core.weights.write import write_safetensors

ROOT = Path(__file__).parents[2]


def test_kept_segments_depend_on_the_pack_s_version():
    assert (
        tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
        == VERSION
    )


# --- the plan ----------------------------------------------------------------------------------


def test_plan_of_a_long_clip_is_the_literal_one():
    assert plan_segments(41, 21, 4) == [Segment(0, 21), Segment(16, 21), Segment(20, 21)]
    assert [segment.frames for segment in plan_segments(41, 21, 4)] == [
        slice(0, 81),
        slice(64, 145),
        slice(80, 161),
    ]


def test_a_clip_that_fits_is_one_segment():
    assert plan_segments(21, 21, 4) == [Segment(0, 21)]
    assert plan_segments(1, 21, 4) == [Segment(0, 1)]


@pytest.mark.parametrize("length, overlap", [(5, 4), (21, 0), (3, 2)])
def test_segments_that_do_not_advance_are_refused(length, overlap):
    with pytest.raises(GeometryError, match=r"Set the segment to \d+ frames or more"):
        plan_segments(100, length, overlap)


lengths = st.integers(1, 6).flatmap(
    lambda overlap: st.tuples(st.integers(overlap + 2, 24), st.just(overlap))
)


@given(latents=st.integers(1, 200), cut=lengths)
@settings(deadline=None)
def test_every_latent_is_covered_and_neighbours_share_enough(latents, cut):
    length, overlap = cut
    segments = plan_segments(latents, length, overlap)
    assert segments[0].first == 0 and segments[-1].end == latents
    assert {segment.latents for segment in segments} == {min(length, latents)}
    for before, after in pairwise(segments):
        assert after.first > before.first
        assert before.end - (after.first + 1) >= overlap


# --- the blend ---------------------------------------------------------------------------------


@given(latents=st.integers(1, 60), cut=lengths)
@settings(max_examples=40, deadline=None)
def test_segments_of_one_latent_blend_to_it(latents, cut):
    whole = torch.randn(1, 2, latents, 2, 2, generator=torch.Generator().manual_seed(latents))
    parts = [
        (segment, whole[:, :, segment.first : segment.end])
        for segment in plan_segments(latents, *cut)
    ]
    torch.testing.assert_close(blend_segments(parts, latents), whole)


def test_the_later_segment_fades_in_over_the_shared_latents():
    parts = [
        (Segment(0, 6), torch.zeros(1, 1, 6, 1, 1)),
        (Segment(2, 6), torch.ones(1, 1, 6, 1, 1)),
    ]
    faded = blend_segments(parts, 8).flatten().tolist()
    assert faded == pytest.approx([0, 0, 0, 0.25, 0.5, 0.75, 1, 1])


def test_kept_segments_may_lie_on_another_device_than_sampled_ones():
    segments, devices = plan_segments(9, 5, 1), ("meta", "cpu", "cpu")
    sampled = [
        (segment, torch.zeros(1, 16, 5, 2, 2, device=device))
        for segment, device in zip(segments, devices, strict=True)
    ]
    assert blend_segments(sampled, 9).is_meta


def test_the_first_latent_of_a_later_segment_is_not_used():
    second = torch.ones(1, 1, 6, 1, 1)
    second[:, :, 0] = float("nan")
    parts = [(Segment(0, 6), torch.zeros(1, 1, 6, 1, 1)), (Segment(2, 6), second)]
    assert blend_segments(parts, 8).isfinite().all()


@given(latents=st.integers(1, 60), cut=lengths, begin=st.integers(0, 59))
@settings(max_examples=60, deadline=None)
def test_a_blend_comes_in_stretches_and_from_any_segment(latents, cut, begin):
    """Bit for bit the whole's; a stretch is never longer than a segment."""
    segments = plan_segments(latents, *cut)
    generator = torch.Generator().manual_seed(latents)
    parts = [(one, torch.randn(1, 2, one.latents, 1, 1, generator=generator)) for one in segments]
    whole = blend_segments(parts, latents)
    stretches = list(blend_in_order(parts))
    assert torch.equal(torch.cat(stretches, 2), whole)
    assert max(stretch.shape[2] for stretch in stretches) <= segments[0].latents
    begin = min(begin, latents - 1)
    number = next(n for n, segment in enumerate(segments) if segment.end > begin)
    reached = segments[number - 1].end if number else 0
    rest = torch.cat(list(blend_in_order(parts[number:], reached)), 2)
    behind = latents - begin
    assert torch.equal(rest[:, :, -behind:], whole[:, :, -behind:])


def test_overlapping_segments_start_from_the_same_noise_and_a_longer_clip_keeps_it():
    """The tape of 0 0 0 0 0 0 1 1 1 2: each latent frame has the noise of its first segment."""

    def noise(segments, number):
        return segment_noise(segments, number, draw).flatten().tolist()

    def draw(number):
        return torch.full((1, 1, 6, 1, 1), float(number))

    short, long = plan_segments(10, 6, 2), plan_segments(13, 6, 2)
    assert [segment.first for segment in short] == [0, 3, 4]
    assert [noise(short, number) for number in range(3)] == [
        [0, 0, 0, 0, 0, 0],
        [0, 0, 0, 1, 1, 1],
        [0, 0, 1, 1, 1, 2],
    ]
    assert [noise(long, number) for number in range(2)] == [
        noise(short, number) for number in range(2)
    ]


# --- colours -----------------------------------------------------------------------------------


def picture(frames=20, size=48, seed=0):
    """Smooth moving colours (F, H, W, 3)."""
    generator = torch.Generator().manual_seed(seed)
    small = torch.rand(1, 3, frames // 4 + 2, 6, 6, generator=generator)
    return (
        torch.nn.functional.interpolate(small, (frames, size, size), mode="trilinear")[0].movedim(
            0, -1
        )
        * 0.8
        + 0.1
    )


def test_a_planted_colour_shift_is_taken_out():
    source = picture()
    shifted = (source * 0.95 + torch.tensor([0.04, -0.03, 0.02])).clamp(0, 1)
    assert (shifted - source).abs().mean() > 0.02
    assert (anchor_colours(shifted, source) - source).abs().max() < 0.003


def test_the_edited_object_moves_along_with_its_surroundings():
    source = picture()
    edited = source.clone()
    edited[:, 10:26, 10:26] = torch.tensor([0.9, 0.1, 0.1])
    shifted = edited + 0.04
    assert (anchor_colours(shifted.clamp(0, 1), source) - edited).abs().max() < 0.01


def test_a_new_style_is_left_alone():
    source = picture()
    grey = source.mean(-1, keepdim=True).expand_as(source) * 0.3
    assert torch.equal(anchor_colours(grey, source), grey)
    assert (colour_drift(grey, source)[2] == 0).all()


def test_an_edit_without_drift_hardly_changes():
    source = picture()
    noisy = source + 0.01 * torch.randn(source.shape, generator=torch.Generator().manual_seed(1))
    assert (anchor_colours(noisy.clamp(0, 1), source) - noisy.clamp(0, 1)).abs().max() < 0.005


def test_the_edit_may_lie_on_another_device():
    """With --gpu-only it stays on the card, and the source is on the processor."""
    held = anchor_colours(torch.rand(1, 8, 8, 3), torch.rand(1, 8, 8, 3).to("meta"))
    assert held.is_meta and held.shape == (1, 8, 8, 3)


def test_frames_of_another_shape_are_refused():
    with pytest.raises(ClipError, match="as they left SAMA Source Video"):
        anchor_colours(torch.zeros(2, 4, 4, 3), torch.zeros(3, 4, 4, 3))


def test_drift_over_ten_segments_stays_under_its_bound():
    """Each of 10 segments of an identity edit has its own planted shift and fades into the next
    over 16 frames.
    """
    source = picture(frames=10 * 32 + 1, size=32)
    shifts = 0.06 * (torch.rand(10, 3, generator=torch.Generator().manual_seed(3)) * 2 - 1)
    places = (torch.arange(len(source)) / 32 - 0.25).clamp(0, 9)
    before, part = places.long(), ((places % 1) * 2 - 1).clamp(0, 1)[:, None]
    shift = shifts[before] * (1 - part) + shifts[(before + 1).clamp(max=9)] * part
    edited = (source + shift[:, None, None]).clamp(0, 1)

    def drift(frames):
        return (frames - source).mean((1, 2)).abs().max()

    assert drift(edited) > 0.05
    assert drift(anchor_colours(edited, source)) < 0.005


# --- seeds -------------------------------------------------------------------------------------


def test_segment_seeds_are_the_literal_ones():
    """The first is the clip's own; the others stay what they are for good."""
    assert [segment_seed(1, number) for number in range(3)] == [
        1,
        14047759821590245578,
        12069646666850839610,
    ]
    assert [segment_seed(2, number) for number in range(3)] == [
        2,
        12644564495520486106,
        192946712945768511,
    ]
    assert segment_seed(2**64 - 1, 0) == 2**64 - 1


def test_seeds_before_0_2_are_consecutive():
    assert [segment_seed(7, number, consecutive=True) for number in range(3)] == [7, 8, 9]
    assert segment_seed(2**64 - 1, 1, consecutive=True) == 0


@given(st.lists(st.integers(0, 2**64 - 1), min_size=2, max_size=2, unique=True))
def test_no_two_seeds_share_a_later_segment_s_noise(seeds):
    """Neither near nor far seeds, at no distance of segments."""
    one, other = ({segment_seed(seed, number) for number in range(50)} for seed in seeds)
    near = {segment_seed((seeds[0] + 1) % 2**64, number) for number in range(50)}
    assert not one & other and not one & near
    assert all(0 <= seed < 2**64 for seed in one)


# --- the store ---------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path):
    return SegmentStore(tmp_path / "store", limit=10_000_000)


LATENT = {"latent": torch.arange(24.0).reshape(1, 2, 3, 2, 2)}


@pytest.mark.parametrize(
    "sizes, words",
    [
        ((), "0 segments, 0 KiB of 0.25 GiB, "),
        ((1,), "1 segment, 1 KiB of "),
        ((20_000, 33_249), "2 segments, 53 KiB of "),
        ((2**20,), "1 segment, 1.0 MiB of "),
        ((2**27, 2**20 // 2), "2 segments, 128.5 MiB of "),
    ],
)
def test_the_report_names_the_size_also_of_small_segments(tmp_path, monkeypatch, sizes, words):
    entries = [Entry(tmp_path / f"{number:02x}", size, 0) for number, size in enumerate(sizes)]
    monkeypatch.setattr(SegmentStore, "entries", lambda _store: entries)
    assert show_or_clear(SegmentStore(tmp_path, 2**28), False, "").startswith(words)


def test_what_was_put_is_got_bit_for_bit(store):
    assert store.get("ab") is None
    assert store.put("ab", LATENT, {"instruction": "x"})
    assert torch.equal(store.get("ab")["latent"], LATENT["latent"])


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "text", "no checksum"])
def test_a_damaged_entry_is_removed_and_missing(store, damage, caplog):
    store.put("ab", LATENT, {})
    path = store.path("ab")
    data = bytearray(path.read_bytes())
    if damage == "no checksum":
        write_safetensors(path, LATENT)
    else:
        data = {
            "cut": data[:-5],
            "flip": data[:-5] + bytes([data[-5] ^ 1]) + data[-4:],
            "empty": b"",
            "text": b"not a tensor file",
        }[damage]
        path.write_bytes(bytes(data))
    assert store.get("ab") is None
    assert not path.exists()
    assert "computed again" in caplog.text


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_values_that_are_no_numbers_are_never_kept(store, value, caplog):
    spoilt = {"latent": LATENT["latent"].clone(), "count": torch.ones(2, dtype=torch.int64)}
    spoilt["latent"][0, 1, 2, 1, 1] = value
    assert not store.put("ab", spoilt, {})
    assert "not kept" in caplog.text and store.entries() == []
    write_safetensors(
        store.path("ab"), spoilt, {"sha256": checksum(spoilt)}
    )  # as an earlier version kept it
    assert store.get("ab") is None
    assert store.entries() == [] and "is damaged; it is computed again" in caplog.text


def test_the_longest_unused_entries_go_first(tmp_path):
    tensors = {"latent": torch.zeros(1000)}
    store = SegmentStore(tmp_path, limit=13_000)
    for number, key in enumerate("abc"):
        store.put(key, tensors, {})
        os.utime(store.path(key), (number, number))
    later = SegmentStore(tmp_path, limit=13_000)
    later.get("a")
    later.put("d", tensors, {})
    assert [store.get(key) is not None for key in "abcd"] == [True, False, True, True]
    assert sum(entry.size for entry in store.entries()) <= 13_000


def test_what_a_running_edit_uses_stays_over_the_limit_until_another_runs(tmp_path):
    store = SegmentStore(tmp_path, limit=10)
    store.put("a", LATENT, {})
    store.put("b", LATENT, {})
    assert store.get("a") is not None and store.get("b") is not None
    other = SegmentStore(tmp_path, limit=10)
    assert other.get("b") is not None
    other.put("c", LATENT, {})
    assert [store.get(key) is not None for key in "abc"] == [False, True, True]


def test_files_of_others_in_the_folder_are_left_alone(store):
    """Neither counted, nor removed to make room, nor cleared."""
    store.put("ab", LATENT, {})
    foreign = store.folder / "my_lora.safetensors"
    foreign.write_bytes(b"not ours")
    assert [entry.path.stem for entry in store.entries()] == ["ab"]
    assert store.clear() == 1 and foreign.read_bytes() == b"not ours"


@pytest.fixture
def older(store):
    """The store with one segment of another version, one of 0.1.0, and one of today's."""
    for key, made_by in (("aa", {"pack": "0.0.9"}), ("bb", {}), ("cc", {"pack": VERSION})):
        write_safetensors(store.path(key), LATENT, {**made_by, "sha256": checksum(LATENT)})
    return store


def test_segments_of_other_versions_are_counted_apart(older):
    older.put("dd", LATENT, {})
    assert {entry.path.stem for entry in older.of_other_versions()} == {"aa", "bb"}
    report = show_or_clear(older, False, "")
    assert report.startswith("4 segments, ")
    assert " 2 of them are of another version and are not used." in report


def test_segments_of_other_versions_are_removed_when_asked(older):
    code = show_or_clear(older, False, "").removesuffix(".").split()[-1]
    assert show_or_clear(older, True, "").startswith("Nothing was removed")
    report = show_or_clear(older, True, code)
    assert report.startswith("2 segments removed. 1 segment, ") and "version" not in report
    assert [entry.path.stem for entry in older.entries()] == ["cc"]


def test_segments_of_other_versions_go_first_when_room_is_needed(older):
    os.utime(older.path("cc"), (1, 1))
    size = older.path("cc").stat().st_size
    older.limit = 2 * size + 100
    older.put("dd", LATENT, {})
    assert [older.path(key).exists() for key in ("aa", "bb", "cc", "dd")] == [
        False,
        False,
        True,
        True,
    ]


def test_clear_removes_entries_and_nothing_else(store):
    store.put("ab", LATENT, {})
    other = store.folder / "notes.txt"
    other.write_text("mine")
    assert store.clear() == 1
    assert store.entries() == [] and other.exists()


def test_a_disk_that_refuses_is_no_reason_to_stop(store, monkeypatch, caplog):
    def full(*_args, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sama_core.long.store.write_safetensors", full)
    assert not store.put("ab", LATENT, {})
    assert "not kept" in caplog.text and store.get("ab") is None


WRITER = """
import sys, torch
from pathlib import Path
from sama_core.long import SegmentStore
store = SegmentStore(Path(sys.argv[1]), 10**12)
print("ready", flush=True)
for number in range(10**6):
    store.put(f"{number:08x}", {"latent": torch.full((200_000,), float(number))}, {})
"""


def test_two_writers_of_one_store_do_no_harm(tmp_path):
    """Two servers that sample the same segment: whoever reads finds it whole."""
    tensors = {"latent": torch.arange(50_000, dtype=torch.float32)}
    stores = [SegmentStore(tmp_path, 2**40) for _ in range(3)]
    stores[2].put("0a", tensors, {})

    def write(store):
        return all(store.put("0a", tensors, {}) for _ in range(40))

    with ThreadPoolExecutor(2) as pool:
        written = [pool.submit(write, store) for store in stores[:2]]
        while not all(one.done() for one in written):
            assert torch.equal(stores[2].get("0a")["latent"], tensors["latent"])
        assert [one.result() for one in written] == [True, True]
    assert [path.name for path in tmp_path.iterdir()] == ["0a.safetensors"]


def test_a_killed_writer_leaves_only_whole_entries(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE
    )
    process.stdout.readline()
    until = time.monotonic() + 300
    while len(list(tmp_path.glob("*.safetensors"))) < 5 and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    store = SegmentStore(tmp_path, 10**12)
    kept = store.entries()
    assert len(kept) >= 5
    for entry in kept:
        value = store.get(entry.path.stem)["latent"]
        assert torch.equal(value, torch.full((200_000,), float(int(entry.path.stem, 16))))


def test_clearing_leaves_folders_of_others_beside_the_jobs(tmp_path):
    """Servers may share a folder that is not theirs alone."""
    WholeJob(tmp_path / ("0a" * 20)).begin({"clip": "a.mp4", "instruction": "make it red"})
    other = tmp_path / "projects" / "cut.mov"
    other.parent.mkdir()
    other.write_bytes(b"mine")
    listed, _ = show_or_clear_jobs(tmp_path, False, "")
    assert listed.startswith("1 edit of whole videos, not finished or not saved: a.mp4:")
    assert show_or_clear_jobs(tmp_path, True, listed[-5:-1]) == (
        "1 edit of whole videos removed.",
        True,
    )
    assert [path.name for path in tmp_path.iterdir()] == ["projects"]
    assert other.read_bytes() == b"mine"
