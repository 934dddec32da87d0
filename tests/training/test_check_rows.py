"""The task `check`: what it says of rows, the sheet that it draws, and its exit code."""

import json

import numpy as np
import pytest
from PIL import Image

from sama_core.training.__main__ import main

from ..harness.write_clip import write_clip
from .rows_files import BLUE, GREEN, RED, clip, image, jsonl, models, pair, recipe, settings


@pytest.fixture
def folder(tmp_path):
    for name, colour in (("a", RED), ("b", BLUE), ("c", GREEN)):
        clip(tmp_path / f"{name}.mp4", colour)
        image(tmp_path / f"{name}.png", colour)
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    clip(tmp_path / "long.mp4", BLUE, frames=9)
    clip(tmp_path / "short.mp4", BLUE, frames=3)
    clip(tmp_path / "wide.mp4", BLUE, size=(32, 64))
    (tmp_path / "copy.mp4").write_bytes((tmp_path / "a.mp4").read_bytes())
    still = [np.full((32, 32, 3), 90, np.uint8)] * 6
    write_clip(tmp_path / "fast.mp4", still, 16)
    write_clip(tmp_path / "again.mp4", still, 8)
    return tmp_path


ROWS = [
    pair("a.mp4", "b.mp4", "make it blue"),
    pair("a.mp4", "gone.mp4", "x"),
    pair("broken.mp4", "b.mp4", "x"),
    pair("a.mp4", "fast.mp4", "make it grey"),
    pair("a.mp4", "long.mp4", "longer"),
    pair("a.mp4", "wide.mp4", "wider"),
    pair("a.mp4", "a.mp4", "nothing"),
    pair("copy.mp4", "b.mp4", "make it  blue"),
    pair("copy.mp4", "c.mp4", "make it blue"),
    pair("a.mp4", "b.mp4", "dog " * 600),
    pair("a.mp4", "short.mp4", "shorter"),
    pair("a.png", "b.png", "make it blue"),
    "{",
]
SAID = {
    2: ("unusable", "missing", "got no file 'gone.mp4', needs a file that exists."),
    3: ("unusable", "unreadable", "video 'broken.mp4': got a file that is not a video"),
    4: ("unusable", "rates", "got a target of 16 frames per second and a source of 8 frames"),
    5: ("remark", "lengths", "source of 5 frames, target of 9: what one has more is not used"),
    6: ("unusable", "aspect", "got a target of 64x32, needs the shape of its source, 32x32."),
    7: ("remark", "identical", "source and target show the same"),
    8: ("remark", "duplicate", "the same clips and words as row 1"),
    9: ("remark", "duplicate", "the same source and words as row 1, and another target"),
    10: ("remark", "tokens", "tokens: cut at 512"),
    11: ("unusable", "short", "got 3 frames, needs 5."),
    13: ("unusable", "row", "got a line that is not JSON, needs one JSON object per line."),
}


def check(capsys, *words) -> tuple[int, dict]:
    code = main(["check", *map(str, words), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_every_row_is_judged_in_one_list(folder, capsys):
    rows = jsonl(folder / "rows.jsonl", ROWS)
    encoder = models() / "text_encoders" / "sama_untrained_umt5.safetensors"
    sizes = ("frames=5", "width=32", "height=32", "clips.rates=refuse")
    code, found = check(capsys, rows, f"text_encoder={encoder}", *sizes)
    assert code == 1
    said = {one["row"]: (one["level"], one["kind"]) for one in found["findings"]}
    assert said == {number: words[:2] for number, words in SAID.items()} | {
        11: ("unusable", "short")
    }
    for one in found["findings"]:
        if one["kind"] != "lengths":
            assert SAID[one["row"]][2] in one["text"]
    assert (found["rows"], found["usable"], found["tokens"]) == (13, 7, "counted")
    assert found["shapes"] == {"32x32x5": 6, "32x32x1": 1}
    sheet = Image.open(found["sheet"])
    assert found["sheet"] == str(folder / "rows_check.png") and sheet.width == 1076


def test_rates_may_be_resampled(folder, capsys):
    rows = jsonl(folder / "rows.jsonl", [ROWS[3]])
    code, found = check(capsys, rows, "clips.rates=resample", "--no-sheet")
    assert code == 0 and found["sheet"] == "" and not (folder / "rows_check.png").exists()
    assert [(one["kind"], one["text"]) for one in found["findings"]] == [
        ("lengths", "source of 5 frames, target of 6: what one has more is not used"),
        ("rates", "target and source of 16 and 8 frames per second: resampled"),
    ]
    assert found["lengths"] == {"3": 1}  # 6 frames at 16 are 3 at 8


def test_size_and_length_of_a_recipe(folder, tmp_path, capsys):
    rows = jsonl(folder / "rows.jsonl", [ROWS[0], pair("wide.mp4", "wide.mp4", "x")])
    values = settings(rows, tmp_path / "out", width=64, height=64)
    path = recipe(tmp_path / "recipe.toml", values)
    code, found = check(capsys, path)
    assert code == 0 and found["missing"] == []
    said = [(one["row"], one["kind"], one["text"]) for one in found["findings"]]
    assert said == [
        (
            1,
            "upscaling",
            "enlarged for 64x64: source of 32x32 2 times, target of 32x32 2 times",
        ),
        (2, "identical", "source and target show the same"),
        (2, "cropped", "50% of 64x32 is cut off for 64x64"),
        (
            2,
            "upscaling",
            "enlarged for 64x64: source of 64x32 2 times, target of 64x32 2 times",
        ),
    ]


def test_good_rows_and_words_for_a_person(folder, capsys):
    assert main(["check", str(jsonl(folder / "rows.jsonl", [ROWS[0], ROWS[11]]))]) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines() == [
        "sizes: 32x32 (4)",
        "frames per second: 8 (2)",
        "frames: 5 (1)",
        "Tokens are estimated: set text_encoder=PATH to count them.",
        f"contact sheet: {folder / 'rows_check.png'}",
        "2 of 2 rows can be trained on; remarks: 0.",
    ]
    jsonl(folder / "rows.jsonl", [ROWS[1]])
    assert main(["check", str(folder / "rows.jsonl")]) == 1
    shown = capsys.readouterr()
    assert "row    2" not in shown.out and "row    1  unusable  missing" in shown.out
    assert shown.err.splitlines()[-1] == "1 of 1 rows cannot be trained on."


def test_no_such_file(tmp_path, capsys):
    assert main(["check", str(tmp_path / "none.jsonl")]) == 1
    assert "no readable file" in capsys.readouterr().err
