"""Rows of a CSV or JSONL file as people's programs write them, and what is wrong with them."""

from fractions import Fraction
from pathlib import Path, PurePosixPath

import pytest

from sama_core.launch.batch.batch_rows import Settings, name_targets
from sama_core.launch.batch.row_table import table_rows
from sama_core.launch.progress import LaunchError

USUAL = Settings("", 1, 0, -1.0)


@pytest.fixture
def read(tmp_path):
    """A function that reads a table with this content."""

    def of(content: str | bytes, name: str = "shots.csv", usual: Settings = USUAL, fps=None):
        table = tmp_path / name
        table.write_bytes(content.encode() if isinstance(content, str) else content)
        return table_rows(table, usual, fps)

    return of


@pytest.mark.parametrize(
    "content",
    [
        "clip,instruction,seed\na.mp4,make it red,5\n",
        "\ufeffclip,instruction,seed\r\na.mp4,make it red,5\r\n",
        'clip;instruction;seed\na.mp4;"make it red";5\n',
        "Seed\tCLIP\t Instruction \n5\ta.mp4\tmake it red\n\n\t\t\n",
        "clip,instruction,seed\na.mp4,make it red,5".encode("utf-16"),
    ],
)
def test_tables_of_many_programs(read, tmp_path, content):
    (row,) = read(content).rows
    assert row.clip.path == tmp_path / "a.mp4" and row.name == PurePosixPath("a.mp4")
    assert row.settings == Settings("make it red", 5, 0, -1.0)


def test_every_setting_has_a_column(read, tmp_path):
    content = (
        "clip;instruction;seed;steps;cfg;frames;area;fit;lora;lora_strength;weight_dtype;mask\n"
        "a.mp4;x;18446744073709551615;12;2,5;9;64x48;letterbox;my.safetensors;0,5;fp8_e5m2;"
        "m\\a.png\n"
    )
    (row,) = read(content).rows
    assert row.settings == Settings(
        "x",
        2**64 - 1,
        12,
        2.5,
        9,
        3072,
        "letterbox",
        "my.safetensors",
        0.5,
        "fp8_e5m2",
        str(tmp_path / "m\\a.png"),
    )


def test_a_quoted_text_may_have_anything_in_it(read):
    content = 'clip,instruction\n"a, ""b"".mp4","make it\nred; then, ""blue"" 💥"\nc.mp4,x\n'
    first, second = read(content).rows
    assert first.name == PurePosixPath('a, "b".mp4')
    assert first.settings.instruction == 'make it\nred; then, "blue" 💥'
    assert (first.number, second.number) == (2, 4)


def test_json_lines(read, tmp_path):
    content = (
        '{"clip": "s/a.mp4", "instruction": "x", "steps": 3}\n\n{"clip": "b.mp4", "seed": 9}\n'
    )
    rows = read(content, "shots.jsonl", Settings("usual", 1, 0, -1.0)).rows
    assert [(row.number, row.settings.instruction, row.settings.seed) for row in rows] == [
        (1, "x", 1), (3, "usual", 9)
    ]  # fmt: skip
    assert rows[0].settings.steps == 3 and rows[0].clip.path == tmp_path / "s" / "a.mp4"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("video;prompt\na;b\n", "columns of shots.csv: got video, prompt, needs a column 'clip'"),
        ("", "columns of shots.csv: got none, needs a column 'clip'"),
        ("clip,seed\na.mp4,1\n", "got the columns clip, seed, needs an instruction"),
        ("clip,instruction\na.mp4,\n", "line 2 of shots.csv: got an empty cell, needs an instr"),
        ("clip,instruction\n,x\n", "line 2 of shots.csv: got no clip"),
        ("clip,instruction\n", "shots.csv: got no row, needs at least one"),
        ("a" * 200_000, "shots.csv: got no readable CSV (field larger than"),
        ("clip,instruction,first\na,x,0\n", "line 2 of shots.csv: --first: got 0, needs 1 or"),
        ("clip,instruction,seed\na,x,abc\n", "line 2 of shots.csv, column seed: got abc, needs a "),
        ("clip,instruction,seed\na,x,1.5\n", "column seed: got 1.5, needs a whole number"),
        (
            "clip,instruction,seed\na,x,1e999999999\n",
            "column seed: got 1e999999999, needs a number",
        ),
        ("clip,instruction,cfg\na,x,nan\n", "column cfg: got nan, needs a number"),
        ("clip,instruction,steps\na,x,-3\n", "line 2 of shots.csv: --steps: got -3, needs 1 or"),
        ("clip,instruction,area\na,x,big\n", "column area: got big, needs WxH"),
        (
            "clip,instruction,weight_dtype\na,x,q4\n",
            "column weight_dtype: got q4, needs one of def",
        ),
        ("clip,instruction,fit\na,x,tight\n", "column fit: got tight, needs one of crop to bucket"),
        ("clip,instruction\na,make it red, then blue\n", "line 2 of shots.csv: got 3 cells"),
        (b"clip,instruction\na.mp4,gr\xfcn\n", "got a text that is not UTF-8"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(read, content, sentence):
    with pytest.raises(LaunchError) as caught:
        read(content)
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


def test_columns_without_a_meaning_are_named(read):
    found = read("clip,instruction,setps,notes\na.mp4,x,3,hello\n")
    assert found.remarks[0].startswith("Columns without a meaning here: notes, setps. Those with")


def test_a_folder_of_frames_needs_a_rate(read, tmp_path):
    (tmp_path / "f").mkdir()
    for number in (9, 10, 8):
        (tmp_path / "f" / f"x_{number}.exr").touch()
    (row,) = read("clip,instruction,fps\nf,x,24000/1001\n").rows
    assert row.clip.frames == ("x_8.exr", "x_9.exr", "x_10.exr")
    assert row.clip.fps == Fraction(24000, 1001)
    with pytest.raises(LaunchError, match="got no --fps and no column 'fps'"):
        read("clip,instruction\nf,x\n")
    with pytest.raises(LaunchError, match="column fps: got fast, needs frames per second"):
        read("clip,instruction,fps\nf,x,fast\n")


def test_clips_elsewhere_keep_the_tree_that_they_share(read, tmp_path):
    rows = read(f"clip,instruction\n{tmp_path}/x/a/1.mp4,x\n../other/b/1.mp4,x\n").rows
    assert [row.name for row in rows] == [
        Path(tmp_path.name) / "x/a/1.mp4", PurePosixPath("other/b/1.mp4")
    ]  # fmt: skip


def test_results_of_clips_that_differ_in_their_ending(read):
    content = "clip,instruction\na.mp4,x\na.mov,x\nA.webm,x\nb.mp4,x\nb.mp4,y\n"
    targets = [str(row.target) for row in name_targets(read(content).rows, False)]
    assert targets[:3] == ["a.mp4.mp4", "a.mov.mp4", "A.webm.mp4"]
    assert len(set(targets)) == 5
    assert all(name.startswith("b_seed1_") for name in targets[3:])
