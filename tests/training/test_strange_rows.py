"""Rows, folders, clips and caches as nobody should have them."""

import json
import os
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch

from sama_core.clip.film import KEPT, write_film
from sama_core.errors import InputError
from sama_core.geometry import WAN_21, ClipShape
from sama_core.training.__main__ import main
from sama_core.training.recipe import ConfigError, read_settings
from sama_core.training.rows.append_row import append_row
from sama_core.training.rows.check import check_rows
from sama_core.training.rows.clips_config import BEFORE, ClipsConfig
from sama_core.training.rows.frames import Look, look_at
from sama_core.training.rows.groups import Looks
from sama_core.training.rows.kept_tensors import KeptTensors
from sama_core.training.rows.preflight import refuse_missing
from sama_core.training.rows.row_samples import SampleReader
from sama_core.training.rows.rows import BadRows, Row, RowError, read_rows
from sama_core.training.validation.held_out_loss import Validation

from .rows_files import BLUE, RED, clip, config, image, jsonl, pair, report


def make_pair(folder: Path, name: str, text: bytes = b"make it blue") -> None:
    clip(folder / f"{name}_source.mp4", RED)
    clip(folder / f"{name}_target.mp4", BLUE)
    (folder / f"{name}.txt").write_bytes(text)


def check(capsys, *words) -> tuple[int, dict]:
    code = main(["check", *map(str, words), "--json"])
    return code, json.loads(capsys.readouterr().out)


# --- files of rows -------------------------------------------------------------------------------


def test_lines_of_others_stay_to_the_byte(tmp_path):
    """Also those with a separator that Python alone takes for a line's end, and no UTF-8."""
    before = (
        b'\xef\xbb\xbf{"instruction": "one\xe2\x80\xa8line", "id": "first"}\r\n'
        b'{"instruction": "caf\xe9"}\r\n\r\nno end'
    )
    real = tmp_path / "elsewhere.jsonl"
    real.write_bytes(before)
    file = tmp_path / "rows.jsonl"
    file.symlink_to(real)
    assert append_row(file, {"id": "new"}) == 5
    assert append_row(file, {"id": "new"}) == 5
    assert append_row(file, {"id": "first"}) == 1
    assert file.is_symlink()
    assert real.read_bytes() == before + b'\n{"id": "new"}\n'


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_rows_in_another_encoding_with_its_mark(tmp_path, encoding):
    """PowerShell's `>` writes UTF-16."""
    clip(tmp_path / "a.mp4", RED)
    file = tmp_path / "rows.jsonl"
    lines = [json.dumps(pair("a.mp4", "a.mp4", text), ensure_ascii=False) for text in ("é", "b")]
    file.write_bytes("\r\n".join([*lines, ""]).encode(encoding))
    rows, wrong = read_rows(file, 1)
    assert ([row.text for row in rows], wrong) == (["é", "b"], {})


@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"])
def test_a_file_of_a_mark_alone_is_empty(tmp_path, mark):
    (tmp_path / "rows.jsonl").write_bytes(mark)
    assert read_rows(tmp_path / "rows.jsonl", 1) == ([], {})


def test_a_damaged_file_names_its_encoding(tmp_path):
    (tmp_path / "rows.jsonl").write_bytes(b"\xff\xfe{")
    need = "damaged text in UTF-16, needs a JSONL file in UTF-8. Save the file as UTF-8."
    with pytest.raises(RowError, match=need):
        read_rows(tmp_path / "rows.jsonl", 1)


def test_a_row_is_not_added_to_utf_16(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_bytes("{}".encode("utf-16"))
    with pytest.raises(InputError, match="got a file in UTF-16, needs one in UTF-8 to add to"):
        append_row(file, {"id": "new"})
    assert file.read_bytes() == "{}".encode("utf-16")


@pytest.mark.parametrize("weight", [1e-300, 1e-6])
def test_a_weight_that_never_comes_is_refused(tmp_path, weight):
    clip(tmp_path / "a.mp4", RED)
    row = {**pair("a.mp4", "a.mp4", "x"), "weight": weight}
    _, wrong = read_rows(jsonl(tmp_path / "rows.jsonl", [row]), 1)
    assert f"got a weight of {weight:g}, needs 0, or 0.001 and more" in wrong[1]


# --- folders -------------------------------------------------------------------------------------


def test_the_contact_sheet_is_no_row_of_its_folder(tmp_path, capsys):
    make_pair(tmp_path, "car")
    for _ in range(2):
        code, found = check(capsys, tmp_path)
        assert (code, found["rows"], found["usable"]) == (0, 1, 1)
    assert (tmp_path / "rows_check.png").is_file()


def test_texts_of_other_encodings(tmp_path):
    make_pair(tmp_path, "a", "make it blue, café".encode("utf-16"))
    make_pair(tmp_path, "b", "café".encode("latin-1"))
    rows, wrong = read_rows(tmp_path, 1)
    assert [row.text for row in rows] == ["make it blue, café"]
    need = "needs a text that is saved as UTF-8"
    assert wrong == {2: f"row 2: got 'b.txt' in another encoding, {need}."}


def test_two_files_for_one_part_are_refused(tmp_path):
    make_pair(tmp_path, "a")
    image(tmp_path / "a_source.png", RED)
    rows, wrong = read_rows(tmp_path, 1)
    assert not rows
    assert wrong == {1: "row 1: got 'a_source.mp4' and 'a_source.png', needs one of them."}


@pytest.mark.skipif(os.name == "nt", reason="no such names there")
def test_names_over_two_lines(tmp_path):
    make_pair(tmp_path, "two\nlines")
    rows, wrong = read_rows(tmp_path, 1)
    assert len(rows) == 1 and not wrong


def test_a_year_is_no_number_of_repeats(tmp_path):
    (tmp_path / "2024_trip").mkdir()
    make_pair(tmp_path / "2024_trip", "car")
    assert read_rows(tmp_path, 1) == (
        [],
        {
            1: "row 1: got 2024 repeats of 'car', as the name of its folder '2024_trip' says, "
            "needs at most 1000: rename the folder, to '1_2024_trip' for 1."
        },
    )
    (tmp_path / "2024_trip").rename(tmp_path / "1_2024_trip")
    assert [row.weight for row in read_rows(tmp_path, 1)[0]] == [1]


def test_rows_of_a_folder_are_told_by_name(tmp_path, capsys, caplog):
    """By `check` and by training, at the first look and later."""
    make_pair(tmp_path, "car")
    (tmp_path / "hats").mkdir()
    make_pair(tmp_path / "hats", "red", b"dog " * 600)
    make_pair(tmp_path / "hats", "void", b" ")
    main(["check", str(tmp_path), "--no-sheet"])
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith("row    2  remark    tokens       hats/red: ")
    assert shown[1].startswith("row    3  unusable  row          hats/void: got an empty ")
    _, found = check(capsys, tmp_path, "--no-sheet")
    assert [one["name"] for one in found["findings"]] == ["hats/red", "hats/void"]

    _, wrong = read_rows(tmp_path, 1)
    bad = BadRows(tmp_path / "out", tmp_path, 3, wrong)
    bad.add(1, "row 1: got no video, needs one.")
    assert report(tmp_path / "out") == [
        {"row": 3, "error": "row 3 (hats/void): got an empty 'instruction', needs some text."},
        {"row": 1, "error": "row 1 (car): got no video, needs one."},
    ]
    assert "row 1 (car): got no video" in caplog.text


# --- check ---------------------------------------------------------------------------------------


def break_off(folder: Path, more: int = 0) -> None:
    """A clip of 40 frames, and its first 30 with some bytes `more` under an index of 40."""
    noise = np.random.default_rng(0).integers(0, 255, (40, 32, 32, 3), np.uint8)
    times = [Fraction(number, 8) for number in range(40)]
    write_film(folder / "whole.mp4", zip(times, noise, strict=True), Fraction(8), KEPT)
    whole = (folder / "whole.mp4").read_bytes()
    with av.open(str(folder / "whole.mp4")) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.size]
    (folder / "part.mp4").write_bytes(whole[: places[30] + more])


def test_a_clip_that_ends_early_is_not_as_long_as_it_says(tmp_path, capsys):
    """A download that was broken off: its index, at the beginning, still counts all frames."""
    break_off(tmp_path)
    rows = jsonl(tmp_path / "rows.jsonl", [pair("part.mp4", "whole.mp4", "x")])
    code, found = check(capsys, rows, "frames=37", "width=32", "height=32", "--no-sheet")
    assert code == 1
    kinds = [(one["kind"], one["level"]) for one in found["findings"]]
    assert ("damaged", "remark") in kinds and ("short", "unusable") in kinds


@pytest.mark.parametrize("more", [0, 40])
@pytest.mark.parametrize(("clips", "count"), [({"windows": 0}, 30), ({"fps": 4.0}, 15)])
def test_windows_are_drawn_from_the_frames_that_there_are(tmp_path, more, clips, count):
    """Also where the file ends within a coded frame."""
    break_off(tmp_path, more)
    part, whole = tmp_path / "part.mp4", tmp_path / "whole.mp4"
    table = ClipsConfig(**clips)
    assert look_at(Row(1, whole, part, "x"), table, count=True).frames == count
    assert look_at(Row(1, whole, whole, "x"), table, count=True).frames == count * 4 // 3


def test_an_image_of_several_frames_is_told(tmp_path, capsys):
    clip(tmp_path / "a.mp4", RED)
    (tmp_path / "a.mp4").rename(tmp_path / "a.png")
    image(tmp_path / "b.png", BLUE)
    rows = jsonl(tmp_path / "rows.jsonl", [pair("b.png", "a.png", "x")])
    _, found = check(capsys, rows, "--no-sheet")
    assert "an image of 5 frames: the first one is used" in found["findings"][0]["text"]


def test_pictures_are_held_of_the_sheet_s_rows_alone(tmp_path, capsys, monkeypatch):
    """Of 60 rows with findings and 60 without; those of thousands would fill the memory."""
    monkeypatch.setattr(check_rows, "MOST_ROWS", 2)
    drawn = []
    monkeypatch.setattr(check_rows, "write_sheet", lambda rows, path: drawn.extend(rows))
    image(tmp_path / "a.png", RED)
    image(tmp_path / "b.png", BLUE)
    plain = [pair("a.png", "b.png", f"word {number}") for number in range(4)]
    same = [pair("a.png", "a.png", f"none {number}") for number in range(3)]
    code, found = check(capsys, jsonl(tmp_path / "rows.jsonl", plain + same))
    assert (code, found["usable"]) == (0, 7)
    assert [one.row.number for one in drawn] == [5, 6, 1, 2]


def test_a_sheet_that_cannot_be_written_keeps_what_was_found(tmp_path, capsys, caplog):
    image(tmp_path / "a.png", RED)
    image(tmp_path / "b.png", BLUE)
    rows = jsonl(tmp_path / "rows.jsonl", [pair("a.png", "b.png", "x")])
    code, found = check(capsys, rows, "--sheet", tmp_path / "a.png" / "sheet.png")
    assert (code, found["usable"], found["sheet"]) == (0, 1, "")
    assert "Set --sheet to a PNG elsewhere" in caplog.text


# --- settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("clips.lengths=17", "clips.lengths: got 17, needs numbers of 4k+1, in a list."),
        ("clips.lengths=[true]", "clips.lengths: got [True], needs numbers of 4k+1, in a list."),
        ("clips=5", "clips: got 5, needs a table of settings. Write [clips]"),
        (
            "validation={rows=1, sigmas=0.5}",
            "validation.sigmas: got 0.5, needs numbers above 0, up to 1",
        ),
        ("validation=true", "validation: got True, needs a table of settings."),
    ],
)
def test_settings_of_another_kind(tmp_path, capsys, setting, said):
    image(tmp_path / "a.png", RED)
    rows = jsonl(tmp_path / "rows.jsonl", [pair("a.png", "a.png", "x")])
    assert main(["check", str(rows), setting, "--no-sheet"]) == 1
    assert said in capsys.readouterr().err


def test_a_recipe_with_a_mark_and_one_that_is_a_folder(tmp_path):
    (tmp_path / "mine.toml").write_bytes(b"\xef\xbb\xbfsteps = 3\r\n")
    assert read_settings(tmp_path / "mine.toml") == {"steps": 3}
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(ConfigError, match="which cannot be read .*needs a TOML file"):
        read_settings(tmp_path / "folder.toml")


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_an_output_that_is_no_folder(tmp_path, place):
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    clip(tmp_path / "a.mp4", RED)
    rows = jsonl(tmp_path / "rows.jsonl", [pair("a.mp4", "a.mp4", "x")])
    with pytest.raises(ConfigError, match=r"output: got .*file, Not a directory, needs a folder"):
        refuse_missing(config(rows, tmp_path / place))
    assert (tmp_path / "file").read_text(encoding="utf-8") == "mine"


# --- what a run writes anew ------------------------------------------------------------------


def write_reports(folder: Path) -> None:
    BadRows(folder, folder / "rows.jsonl", 2, {2: "row 2: got no row."})
    measured = SimpleNamespace(samples=0), SimpleNamespace(rows=[])
    Validation(*measured, 0, folder)._write(4, {"validation": 0.5})


def test_reports_are_written_whole_or_not_at_all(tmp_path, monkeypatch):
    """A full disk leaves those of the run before as they were."""
    write_reports(tmp_path)
    files = [tmp_path / name for name in ("bad_rows.jsonl", "validation.jsonl")]
    before = [file.read_bytes() for file in files]
    assert before == [
        b'{"row": 2, "error": "row 2: got no row."}\n',
        b'{"step": 4, "validation": 0.5}\n',
    ]

    def write_half(path, text, encoding):
        path.write_bytes(text.encode(encoding)[: len(text) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", write_half)
    with pytest.raises(OSError, match="No space"):
        BadRows(tmp_path, tmp_path / "rows.jsonl", 2, {1: "row 1: got no row."})
    measured = SimpleNamespace(samples=0), SimpleNamespace(rows=[])
    with pytest.raises(OSError, match="No space"):
        Validation(*measured, 0, tmp_path)._write(8, {"validation": 0.25})
    assert [file.read_bytes() for file in files] == before
    assert sorted(tmp_path.iterdir()) == files


# --- the cache -----------------------------------------------------------------------------------


def test_a_damaged_file_that_cannot_be_removed_counts_as_missing(tmp_path, monkeypatch):
    kept = KeptTensors(tmp_path, 1)
    kept.put(torch.ones(3), "name")
    next(tmp_path.glob("*/*.safetensors")).write_bytes(b"damaged")

    def refuse(*_, **__):
        raise PermissionError(30, "Read-only file system")

    monkeypatch.setattr(Path, "unlink", refuse)
    assert kept.get("name") is None


def test_a_cache_that_another_run_tidies(tmp_path, monkeypatch):
    """A file that is listed may be gone before its size is asked for."""
    gone = [tmp_path / "ab" / "gone.safetensors"]
    monkeypatch.setattr(Path, "glob", lambda *_: iter(gone))
    assert KeptTensors(tmp_path, 1).size == 0


def test_a_clip_that_goes_away_is_a_bad_row(tmp_path):
    """With a cache, whose names ask for the clip's bytes."""
    from sama_core.training.rows.kept_encoders import KeptEncoders

    settings = config(tmp_path / "x", tmp_path / "out", clips=ClipsConfig())
    row = Row(3, tmp_path / "gone.mp4", tmp_path / "gone.mp4", "x")
    looks = Looks(BEFORE)
    looks._known[3] = Look((32, 32), (), None, 5)
    reader = SampleReader(KeptEncoders(settings, None), looks)
    with pytest.raises(RowError, match=r"row 3: got '.*gone.mp4' \(No such file or directory\)"):
        reader.read_window(row, ClipShape(5, 32, 32, WAN_21), 0, semantic=False)
