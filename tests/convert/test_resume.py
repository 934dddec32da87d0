"""A conversion that is interrupted: killed, interrupted, out of disk.

It goes on, and the result is the same.
"""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
from collections import namedtuple
from pathlib import Path

import pytest
import torch

from sama_core.convert import job, stream
from sama_core.convert.formats import partial_files
from sama_core.convert.job import convert
from sama_core.errors import CheckpointError, ConversionError

from ..harness.imports import REPO_ROOT
from .convert_files import tiny, write

FORMS = pytest.mark.parametrize("name", ["fp8", "fp8_scaled", "gguf_q5_1"])


@pytest.fixture
def source(tmp_path):
    return write(tmp_path / "sama.safetensors", tiny())


@pytest.fixture
def target(tmp_path):
    return tmp_path / "out.bin"


@pytest.fixture
def whole(source, tmp_path):
    """`whole(name)`: the bytes of an uninterrupted run."""

    def run(name: str) -> bytes:
        convert(source, tmp_path / f"whole_{name}", name)
        return (tmp_path / f"whole_{name}").read_bytes()

    return run


class Stop(Exception):
    pass


def stop_after(calls: int):
    """A progress function that breaks off at its `calls`-th call."""
    seen = []

    def progress(done: int, total: int) -> None:
        seen.append(done)
        if len(seen) == calls:
            raise Stop

    return progress


def break_off(source: Path, target: Path, name: str, calls: int = 40) -> None:
    with pytest.raises(Stop):
        convert(source, target, name, progress=stop_after(calls))
    assert not target.exists() and all(path.exists() for path in partial_files(target))


def nothing_left_over(target: Path) -> bool:
    return not any(path.exists() for path in partial_files(target))


@FORMS
@pytest.mark.parametrize("calls", [1, 7, 40, 75])
def test_it_goes_on_where_it_was(source, target, whole, name, calls):
    expected = whole(name)
    break_off(source, target, name, calls)
    left = partial_files(target)[0].stat().st_size
    report = convert(source, target, name)
    assert target.read_bytes() == expected and nothing_left_over(target)
    assert (report.resumed > 0) == (calls > 1) and report.resumed <= left
    assert report.resumed == 0 or "were written by an interrupted run" in report.text()


def test_broken_off_again_and_again(source, target, whole):
    expected, tries = whole("fp8"), 0
    while not target.exists():
        tries += 1
        try:
            convert(
                source,
                target,
                "fp8",
                progress=stop_after(
                    len(partial_files(target)[1].read_text().split()) + 10 if tries > 1 else 10
                ),
            )
        except Stop:
            assert tries < 40
    assert tries > 3 and target.read_bytes() == expected


def open_as_on_windows(file, mode="r", **options):
    """`open`, with which text that is written has lines that end in two bytes."""
    if "b" not in mode and mode != "r":
        options.setdefault("newline", "\r\n")
    return open(file, mode, **options)


def test_it_goes_on_on_windows(source, target, whole, monkeypatch):
    expected = whole("fp8")
    monkeypatch.setattr(stream, "open", open_as_on_windows, raising=False)
    break_off(source, target, "fp8")
    left = partial_files(target)[0].stat().st_size
    assert convert(source, target, "fp8").resumed > 0.5 * left
    assert target.read_bytes() == expected and nothing_left_over(target)


def test_what_0_1_0_left_on_windows_is_continued(source, target, whole):
    expected = whole("fp8")
    break_off(source, target, "fp8")
    left = partial_files(target)[0].stat().st_size
    journal = partial_files(target)[1]
    journal.write_bytes(journal.read_bytes().replace(b"\n", b"\r\n"))
    break_off(source, target, "fp8", 60)
    assert b"\r" not in journal.read_bytes()
    assert convert(source, target, "fp8").resumed > 0.5 * left
    assert target.read_bytes() == expected and nothing_left_over(target)


@pytest.fixture(scope="module")
def elsewhere():
    """`elsewhere(source, target, name, **request)`: a conversion in a process of its own; see
    convert_worker.py.
    """
    worker = Path(__file__).with_name("convert_worker.py")
    with subprocess.Popen(
        [sys.executable, str(worker), str(REPO_ROOT)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        text=True,
    ) as process:

        def convert_there(source: Path, target: Path, name: str, **request) -> dict:
            asked = {"source": str(source), "target": str(target), "format": name, **request}
            process.stdin.write(json.dumps(asked) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        yield convert_there
        process.stdin.close()


@pytest.mark.parametrize(
    ("name", "share"), [("fp8", 0.01), ("fp8", 0.4), ("fp8", 0.9), ("gguf_q5_1", 0.6)]
)
def test_kill_9_in_the_middle_of_a_tensor(source, target, whole, elsewhere, name, share):
    expected = whole(name)
    die_at = int(share * len(expected))
    assert elsewhere(source, target, name, die_at=die_at) == {"signal": -signal.SIGKILL}
    assert partial_files(target)[0].stat().st_size == die_at and not target.exists()
    report = convert(source, target, name)
    assert target.read_bytes() == expected
    assert (report.resumed > 0.5 * die_at) == (share > 0.01)


def test_killed_between_checksum_and_rename(source, target, whole, monkeypatch):
    """The header is signed already; all pieces are there."""
    expected = whole("fp8")

    def no_rename(part, name, before):
        raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(stream, "put_in_place", no_rename)
        with pytest.raises(Stop):
            convert(source, target, "fp8")
    report = convert(source, target, "fp8")
    assert target.read_bytes() == expected and report.resumed == len(expected)


@pytest.mark.parametrize("damage", ["flip", "shorten", "torn line", "no journal"])
def test_a_damaged_partial_is_not_trusted(source, target, whole, damage):
    """What a power failure can leave: pages that never reached the disk, a file cut short, half a
    line.
    """
    expected = whole("fp8")
    break_off(source, target, "fp8", 60)
    part, journal = partial_files(target)
    size = part.stat().st_size
    if damage == "flip":
        with open(part, "r+b") as file:
            file.seek(size // 2)
            file.write(b"\0" * 4096)
    elif damage == "shorten":
        os.truncate(part, size // 2)
    elif damage == "torn line":
        os.truncate(journal, journal.stat().st_size - 3)
    else:
        journal.unlink()
    report = convert(source, target, "fp8")
    assert target.read_bytes() == expected
    assert (
        report.resumed
        < {"flip": 0.6, "shorten": 0.51, "torn line": 1.0, "no journal": 1e-9}[damage] * size
    )


@pytest.mark.parametrize("other", ["format", "weights", "touched"])
def test_a_partial_of_other_work_is_not_continued(source, target, tmp_path, whole, other):
    break_off(source, target, "fp8", 60)
    name = "fp8"
    if other == "format":
        name = "fp8_scaled"
    elif other == "weights":
        weights = tiny()
        write(
            source,
            {
                key: value + 1 if key == "blocks.1.ffn.0.weight" else value
                for key, value in weights.items()
            },
        )
    else:
        os.utime(source, (1, 1))
    expected = whole(name)
    assert convert(source, target, name).resumed == 0
    assert target.read_bytes() == expected


def test_an_existing_file_is_kept(source, target):
    target.write_bytes(b"mine")
    with pytest.raises(ConversionError, match="a file of that name, which is kept"):
        convert(source, target, "fp8")
    assert target.read_bytes() == b"mine" and nothing_left_over(target)


def test_the_source_is_never_written_over(source):
    before = source.read_bytes()
    with pytest.raises(ConversionError, match="got the source itself"):
        convert(source, source, "fp8", overwrite=True)
    assert source.read_bytes() == before


def test_the_same_conversion_again_does_nothing(source, target):
    first = convert(source, target, "fp8")
    stamp = target.stat().st_mtime_ns
    again = convert(source, target, "fp8")
    assert again.existed and again.sha256 == first.sha256 and target.stat().st_mtime_ns == stamp
    assert "nothing was done" in again.text()


def test_new_weights_of_the_same_name_and_size_are_no_repetition(source, target):
    convert(source, target, "fp8")
    write(source, {key: value + 1 for key, value in tiny().items()})
    with pytest.raises(ConversionError, match="a file of that name"):
        convert(source, target, "fp8")


def test_an_older_file_stays_until_the_new_one_is_whole(source, target):
    convert(source, target, "fp8_scaled")
    older = target.read_bytes()
    with pytest.raises(Stop):
        convert(source, target, "fp8", overwrite=True, progress=stop_after(30))
    assert target.read_bytes() == older
    convert(source, target, "fp8", overwrite=True)
    assert target.read_bytes() != older


# --- disk --------------------------------------------------------------------------------------

Usage = namedtuple("Usage", "total used free")


def test_too_little_room_is_told_before_writing(source, target, monkeypatch):
    monkeypatch.setattr(stream.shutil, "disk_usage", lambda folder: Usage(10**9, 10**9, 1000))
    with pytest.raises(ConversionError, match="GB free, needs .* GB more for out.bin"):
        convert(source, target, "fp8")
    assert [path for path in target.parent.iterdir() if path != source] == []


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "no room left while writing.*it continues where it stopped"),
        (errno.EDQUOT, "no room left while writing"),
        (errno.EFBIG, "takes no file of this size"),
    ],
)
def test_a_disk_that_fills_up(source, target, whole, monkeypatch, code, words):
    """Half of a chunk gets through, then the disk is full; after some was freed the work goes
    on.
    """
    expected, real, left = whole("fp8"), stream._write_all, [400_000]

    def write_all(file, data):
        view = memoryview(data).cast("B")
        if len(view) > left[0]:
            real(file, view[: left[0]])
            raise OSError(code, os.strerror(code))
        left[0] -= len(view)
        real(file, data)

    with monkeypatch.context() as patch:
        patch.setattr(stream, "_write_all", write_all)
        with pytest.raises(ConversionError, match=words):
            convert(source, target, "fp8")
    assert not target.exists()
    assert convert(source, target, "fp8").resumed > 200_000
    assert target.read_bytes() == expected


def test_a_real_limit_on_file_size(source, target, elsewhere):
    """The system itself refuses the write."""
    assert (
        "takes no file of this size" in elsewhere(source, target, "fp8", largest=300_000)["error"]
    )
    assert partial_files(target)[0].stat().st_size == 300_000


# --- two at a time, a source that changes ------------------------------------------------------


def test_one_that_is_finished_while_another_one_begins_is_left_alone(source, target, monkeypatch):
    """It renames its file after the other one has opened it, and before that has the lock."""
    take, done = stream.take_lock, []

    def between(file):
        if not done:
            done.append(None)
            os.replace(partial_files(target)[0], target)
        return take(file)

    monkeypatch.setattr(stream, "take_lock", between)
    with pytest.raises(ConversionError, match="another conversion that writes it now"):
        convert(source, target, "fp8")
    assert done and target.read_bytes() == b"", "the file of that moment"


def test_one_that_ended_just_before_is_seen_before_the_work(source, target, monkeypatch):
    """Between the look at the name and the lock; for SAMA-14B the work takes an hour."""
    take = stream.take_lock

    def between(file):
        if not target.exists():
            target.write_bytes(b"the other's")
        return take(file)

    monkeypatch.setattr(stream, "take_lock", between)
    with pytest.raises(ConversionError, match="a file that has just appeared there"):
        convert(source, target, "fp8", progress=lambda done, total: pytest.fail("it works"))
    assert target.read_bytes() == b"the other's" and not partial_files(target)[0].exists()


def test_two_conversions_to_one_name(source, target, whole):
    expected, refused = whole("fp8"), []

    def progress(done: int, total: int) -> None:
        if not refused:
            refused.append(None)
            with pytest.raises(ConversionError, match="another conversion that writes it now"):
                convert(source, target, "fp8")

    convert(source, target, "fp8", progress=progress)
    assert refused and target.read_bytes() == expected


def test_a_source_that_changes_meanwhile(source, target):
    once = threading.Event()

    def progress(done: int, total: int) -> None:
        if not once.is_set():
            once.set()
            os.utime(source, (5, 5))

    with pytest.raises(CheckpointError, match="a file that changed while it was read"):
        convert(source, target, "fp8", progress=progress)
    assert not target.exists()


def test_progress_counts_the_bytes_of_the_result(source, target):
    seen = []
    convert(source, target, "fp8", progress=lambda done, total: seen.append((done, total)))
    size = target.stat().st_size
    assert seen == sorted(seen) and seen[-1] == (size, size) and len(seen) > 80


# --- memory ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """The tiny model with feed-forward layers that make up 200 MB."""
    hidden = 200_000
    shapes = {"ffn.0.weight": (hidden, 128), "ffn.0.bias": (hidden,), "ffn.2.weight": (128, hidden)}
    wide = {
        name: next(
            (
                torch.full(shape, 0.5, dtype=torch.bfloat16)
                for end, shape in shapes.items()
                if name.endswith(end)
            ),
            value,
        )
        for name, value in tiny().items()
    }
    return write(tmp_path_factory.mktemp("large") / "large.safetensors", wide)


@pytest.mark.parametrize("name", ["fp8", "gguf_q8_0"])
def test_memory_does_not_grow_with_the_file(large, source, target, elsewhere, name):
    """200 MB, after a small file has warmed all code up.

    A whole matrix would be 51 MB, and 102 in float32.
    """
    assert large.stat().st_size > 200e6
    assert elsewhere(large, target, name, warm_up=str(source))["grown"] < 50


# --- files of other versions -------------------------------------------------------------------

OTHERS = pytest.mark.parametrize("version", ["0.1.0", "0.10.0"])


@FORMS
@OTHERS
def test_a_file_of_another_version_is_there_already(source, target, monkeypatch, name, version):
    """The version says who made a file, not what is in it; its name may also be longer."""
    monkeypatch.setattr(job, "VERSION", version)
    before = convert(source, target, name)
    monkeypatch.undo()
    again = convert(source, target, name)
    assert again.existed and again.sha256 == before.sha256 and "nothing was done" in again.text()
    assert f"({100 * target.stat().st_size / source.stat().st_size:.0f} %)" in again.text()


@FORMS
@OTHERS
def test_what_another_version_began_is_finished(source, target, monkeypatch, name, version):
    """The result is, byte for byte, what that version would have made."""
    monkeypatch.setattr(job, "VERSION", version)
    convert(source, target, name)
    expected = target.read_bytes()
    target.unlink()
    break_off(source, target, name)
    monkeypatch.undo()
    report = convert(source, target, name)
    assert report.resumed > 0 and report.dropped == 0
    assert target.read_bytes() == expected and nothing_left_over(target)


def test_other_numbers_are_another_conversion(source, target, monkeypatch):
    """Once the same source gives other bytes, neither a whole nor a begun file passes for it."""
    convert(source, target, "fp8")
    begun = target.with_name("begun.bin")
    break_off(source, begun, "fp8")
    monkeypatch.setattr(job, "ARITHMETIC", 2)
    with pytest.raises(ConversionError, match="a file of that name, which is kept"):
        convert(source, target, "fp8")
    assert convert(source, begun, "fp8").resumed == 0
    assert begun.read_bytes() != target.read_bytes()


def test_what_cannot_be_continued_is_reported(source, target):
    break_off(source, target, "fp8_scaled")
    report = convert(source, target, "fp8")
    assert report.resumed == 0 and report.dropped > 0
    assert "that an interrupted run had written are of another source, format or" in report.text()
    assert "interrupted run" not in convert(source, target, "fp8").text()
