"""What a conversion writes over: its own files, and nothing else, whoever asks for it."""

import json
import os

import pytest
import torch
from safetensors.torch import load_file, save_file

from sama_core.convert import existing, stream
from sama_core.convert.formats import FORMATS, checked_name, partial_files
from sama_core.convert.job import convert
from sama_core.errors import ConversionError

from .convert_files import base_and_delta, tiny, write


@pytest.fixture
def source(tmp_path):
    return write(tmp_path / "sama.safetensors", tiny())


@pytest.fixture
def target(tmp_path):
    return tmp_path / "out.safetensors"


def kept(source, target, words: str, name: str = "fp8", **options) -> None:
    """The conversion is refused in these words, and every file of the folder is as it was."""

    def look():
        return {
            path.name: (path.is_symlink(), path.read_bytes() if path.is_file() else None)
            for path in target.parent.iterdir()
        }

    before = look()
    with pytest.raises(ConversionError, match=words):
        convert(source, target, name, overwrite=True, **options)
    assert look() == before


def resaved(path, **metadata) -> None:
    """A model of another tool, with the metadata of the converted file that it was made from."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        held = file.metadata()
    save_file(
        {**load_file(path), "head.head.bias": torch.ones(64)}, path, metadata={**held, **metadata}
    )


# --- whole files -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "contents",
    [
        b"",
        b"mine",
        b"GGUF" + bytes(100),
        b"GGUFsama.converted sama.sha256" + bytes(80),
        b"\xff" * 4096,
        b"\x10\0\0\0\0\0\0\0" + b'{"a": [1, 2, 3]}',
        b"\x02\0\0\0\0\0\0\0[]",
        b'\x64\0\0\0\0\0\0\0{"__metadata__":{"sama.converted":"{}","sama.sha256":"'
        + b"0" * 64
        + b'"}}',
    ],
    ids=[
        "empty",
        "text",
        "gguf",
        "gguf with our words",
        "noise",
        "no tensors",
        "a list",
        "no facts",
    ],
)
def test_other_files_are_kept(source, target, contents):
    target.write_bytes(contents)
    kept(
        source,
        target,
        "got a file of that name, which is kept, needs a free name. .*Only what SAMA Convert",
    )


@pytest.mark.parametrize("name", ["fp8", "gguf_q8_0"])
def test_another_model_is_kept(source, target, name):
    """A plain model of the artist's, in either form."""
    write(target, {"blocks.0.weight": torch.zeros(4)}, {"format": "pt"})
    kept(source, target, "a file of that name, which is kept", name)


@pytest.mark.parametrize("first", ["fp8", "fp8_scaled", "gguf_q8_0"])
@pytest.mark.parametrize("then", ["fp8_fast", "gguf_q4_0"])
def test_our_own_files_are_replaced(source, target, first, then):
    convert(source, target, first)
    report = convert(source, target, then, overwrite=True)
    assert target.stat().st_size == report.layout.size and not report.existed


def test_not_without_being_asked(source, target):
    convert(source, target, "fp8_scaled")
    with pytest.raises(ConversionError, match="Give another name, or allow it to be overwritten"):
        convert(source, target, "fp8")


@pytest.mark.parametrize("name", ["fp8", "gguf_q8_0"])
def test_a_file_that_was_changed_since_is_kept(source, target, name):
    """Our header is there, but somebody worked on the weights."""
    convert(source, target, name)
    data = bytearray(target.read_bytes())
    data[-500] ^= 1
    target.write_bytes(data)
    kept(source, target, "a file that changed since SAMA Convert Weights wrote it", "fp8_scaled")


def test_a_damaged_file_goes_for_the_same_conversion(source, target):
    whole = convert(source, target, "fp8") and target.read_bytes()
    target.write_bytes(whole[:-500] + bytes(500))
    convert(source, target, "fp8", overwrite=True)
    assert target.read_bytes() == whole


def test_metadata_that_another_tool_took_over_is_no_proof(source, target):
    convert(source, target, "fp8")
    resaved(target)
    kept(source, target, "which is kept", "fp8_scaled")


# --- other things of that name -----------------------------------------------------------------


def test_sources_are_kept(source, target, tmp_path):
    """Under their own names, under a second name, and behind a link."""
    first, delta = base_and_delta(tmp_path, tiny(), "blocks.0.ffn.0.weight")
    os.link(first, tmp_path / "second.safetensors")
    (tmp_path / "link.safetensors").symlink_to(first.with_name("wan-00002-of-00002.safetensors"))
    for path in (
        source,
        delta,
        first,
        tmp_path / "second.safetensors",
        tmp_path / "link.safetensors",
    ):
        given = source if path == source else delta
        kept(given, path, "got the source itself", base=first)


@pytest.mark.parametrize("to", ["model.safetensors", "nothing.safetensors", "folder", "own"])
def test_links_are_kept_and_so_is_what_they_lead_to(source, target, tmp_path, to):
    write(tmp_path / "model.safetensors", {"a": torch.zeros(4)})
    (tmp_path / "folder").mkdir()
    convert(source, tmp_path / "own", "fp8_scaled")
    target.symlink_to(tmp_path / to)
    kept(source, target, "got a link, which is kept")


def test_a_folder_and_a_pipe_are_kept(source, target, tmp_path):
    target.mkdir()
    kept(source, target, "got a folder")
    os.mkfifo(tmp_path / "pipe.safetensors")
    kept(source, tmp_path / "pipe.safetensors", "no plain file")


@pytest.mark.parametrize(
    ("there", "name"),
    [
        ("Out.safetensors", "out.safetensors"),
        ("OUT.SAFETENSORS", "out.safetensors"),
        ("se\u0301ance.safetensors", "s\xe9ance.safetensors"),
        ("strasse.safetensors", "stra\xdfe.safetensors"),
    ],
)
def test_a_name_that_other_systems_take_for_the_same(source, tmp_path, there, name):
    (tmp_path / there).write_bytes(b"mine")
    kept(source, tmp_path / name, "a file of nearly that name")


@pytest.mark.parametrize(
    "name",
    [
        "NUL",
        "con.safetensors",
        "Com1.x.safetensors",
        "lpt\xb9",
        "aux .safetensors",
        "a\nb",
        "a\u202ebc",
        "a\x7fb",
        "\ud800",
        "x" * 201,
        "\u03c9" * 101,
        "a\u200bb",
        "x/../y",
    ],
)
def test_names_that_are_not_what_they_seem(name):
    with pytest.raises(ConversionError, match="needs a plain name"):
        checked_name(name, FORMATS["fp8"])


# --- between the look and the rename -----------------------------------------------------------


def at_the_end(act):
    """A progress function that acts once, when all is written."""

    def progress(done: int, total: int) -> None:
        if done == total:
            act()

    return progress


def test_a_file_that_appears_meanwhile_is_kept(source, target):
    with pytest.raises(
        ConversionError, match="a file that appeared there during the conversion, which is kept"
    ):
        convert(source, target, "fp8", progress=at_the_end(lambda: target.write_bytes(b"mine")))
    assert target.read_bytes() == b"mine"
    target.unlink()
    report = convert(source, target, "fp8")
    assert report.resumed == report.layout.size and not any(
        path.exists() for path in partial_files(target)
    )


@pytest.mark.parametrize("by", ["rename", "write", "link"])
def test_our_file_is_kept_where_another_took_its_place_meanwhile(source, target, tmp_path, by):
    convert(source, target, "fp8_scaled")
    mine = tmp_path / "mine"
    mine.write_bytes(b"mine")
    act = {
        "rename": lambda: os.replace(mine, target),
        "write": lambda: target.write_bytes(b"mine"),
        "link": lambda: (target.unlink(), target.symlink_to(mine)),
    }[by]
    size, calls = target.stat().st_size, []

    def progress(done: int, total: int) -> None:
        if total != size and not calls:  # not while the old file is read
            calls.append(act())

    with pytest.raises(ConversionError, match="appeared there during the conversion"):
        convert(source, target, "fp8", overwrite=True, progress=progress)
    assert target.read_bytes() == b"mine"


def test_no_second_names_on_this_disk(source, target, monkeypatch):
    """exFAT and some shares: a free name is taken by renaming, a taken one is still refused."""

    def refused(*names):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(existing.os, "link", refused)
    with pytest.raises(ConversionError, match="appeared there"):
        convert(source, target, "fp8", progress=at_the_end(lambda: target.write_bytes(b"mine")))
    assert target.read_bytes() == b"mine"
    target.unlink()
    convert(source, target, "fp8")
    assert target.stat().st_size > 1000 and not any(path.exists() for path in partial_files(target))


# --- unfinished files --------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 1], ids=["part", "journal"])
@pytest.mark.parametrize("what", ["file", "link", "folder", "model"])
def test_unfinished_files_of_others_are_kept(source, target, tmp_path, number, what):
    path = partial_files(target)[number]
    (tmp_path / "mine").write_bytes(b"mine")
    if what == "link":
        path.symlink_to(tmp_path / "mine")
    elif what == "folder":
        path.mkdir()
    else:
        path.write_bytes(b"half of a download" if what == "file" else source.read_bytes())
    kept(source, target, "an unfinished file of another program")


def test_a_second_name_left_by_a_kill_is_not_written_through(source, target, monkeypatch):
    """Killed between both steps of the rename, the unfinished name is the finished file too."""
    with monkeypatch.context() as patch:
        patch.setattr(existing.Path, "unlink", lambda path, missing_ok=False: None)
        convert(source, target, "fp8")
    part, whole = partial_files(target)[0], target.read_bytes()
    assert part.samefile(target)

    def look(done: int, total: int) -> None:
        assert target.read_bytes() == whole

    convert(source, target, "fp8_scaled", overwrite=True, progress=look)
    assert target.read_bytes() != whole and not part.exists()


def test_a_kill_in_the_header_leaves_a_file_known_as_ours(source, target, monkeypatch):
    class Killed(Exception):
        pass

    def write_half(file, data):
        file.write(bytes(data)[:100])
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(stream, "_write_all", write_half)
        with pytest.raises(Killed):
            convert(source, target, "fp8")
    part, journal = partial_files(target)
    assert part.stat().st_size == 100 and len(journal.read_text()) == 65
    convert(source, target, "fp8")


def test_a_torn_key_is_known_as_ours(source, target):
    """Only its beginning reached the disk; nothing else did then."""
    partial_files(target)[1].write_text("0123abc")
    convert(source, target, "fp8")


def test_facts_are_what_marks_a_file(source, target):
    """Should the marks be renamed, older results would no longer be known as ours."""
    convert(source, target, "fp8")
    header = json.loads(
        target.read_bytes()[8:][: int.from_bytes(target.read_bytes()[:8], "little")]
    )
    assert {"sama.converted", "sama.sha256"} < header["__metadata__"].keys()
