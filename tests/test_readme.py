"""The README is short for good, and what it says of files, nodes, workflows and cards is so."""

import re
import shlex
from io import StringIO
from pathlib import Path

import pytest
from PIL import Image

from sama_core.launch.cli import parser
from sama_core.launch.places import Places
from sama_core.launch.progress import Stages
from sama_core.released_files import default_file

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
LINES = TEXT.splitlines()
MOST_LINES = 160
MOST_BYTES = 2_000_000
STEPS = {"50 steps": [], "6 steps": ["--steps", "6", "--cfg", "1"]}


def table(heading: str) -> list[list[str]]:
    """The rows of the table below a heading, without its head."""
    section = re.split(r"^## ", TEXT.partition(f"\n## {heading}\n")[2], flags=re.MULTILINE)[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def plan(folder: Path, *options: str) -> str:
    """What `run.py plan` prints where nothing has been measured: `folder` holds no calibrations."""
    printed = StringIO()
    asked = parser().parse_args(["plan", *options])
    assert asked.run(asked, Places(work=folder), Stages(printed)) == 0
    return printed.getvalue()


def test_it_is_short():
    assert len(LINES) <= MOST_LINES


def test_the_picture_moves_and_is_small():
    link = re.findall(r"!\[[^\]]+\]\((\S+)\)", TEXT)[0]
    path = ROOT / link
    assert path.stat().st_size < MOST_BYTES
    with Image.open(path) as picture:
        assert picture.is_animated and picture.n_frames >= 17


@pytest.mark.parametrize("row", table("Which card"), ids=lambda row: row[0])
def test_the_table_of_cards_is_what_the_plan_prints(row, tmp_path):
    card, ram, dtype, frames, weights, *times = row
    vram, name = card.split(" GB, ")
    options = ["--vram", vram, "--card", name, "--ram", ram.removesuffix(" GB")]
    options += ["--weight-dtype", dtype.strip("`"), "--frames", frames]
    here, streamed = weights.removesuffix(" GiB").split(" / ")
    for time, settings in zip(times, STEPS.values(), strict=True):
        printed = plan(tmp_path, *options, *settings)
        assert f"SAMA plan: {frames} frames of 832x480" in printed
        assert "Verdict: it fits" in printed
        assert f", {time} of sampling (computed, not measured" in printed
        if not settings:
            assert f"{here} GiB of weights; {streamed} GiB of weights are streamed" in printed


@pytest.mark.parametrize(
    ("options", "time"),
    [
        ('--vram 8 --card "RTX 4060" --ram 32', "7.9 to 14 h"),
        ('--vram 12 --card "RTX 4070" --ram 32', "4.1 to 7 h"),
        ('--vram 8 --card "RTX 4060" --ram 16 --frames 65 --area 320x192', "24 to 42 min"),
    ],
)
def test_what_docs_say_of_fp8_on_cards_is_what_the_plan_prints(options, time, tmp_path):
    printed = plan(tmp_path, "--weight-dtype", "fp8_e4m3fn", *shlex.split(options))
    assert "Verdict: it fits" in printed and f", {time} of sampling" in printed
    assert time in (ROOT / "docs" / "plan.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("vram", "card"), [("12", "RTX 4070"), ("16", "RTX 4080")])
def test_the_16_bit_file_fits_beside_32_gb_of_ram(vram, card, tmp_path):
    printed = plan(tmp_path, "--vram", vram, "--card", card, "--ram", "32")
    assert "Verdict: it fits" in printed and "Streaming adds at most 3 %" in printed


def test_the_command_for_a_card_is_a_row_of_the_table():
    (command,) = re.findall(r'run.py plan --vram (\d+) --card "(.+)" --ram (\d+) (.+)', TEXT)
    vram, name, ram, rest = command
    (row,) = (row for row in table("Which card") if row[0] == f"{vram} GB, {name}")
    assert row[1] == f"{ram} GB"
    assert rest == f"--weight-dtype {row[2].strip('`')} --frames {row[3]}"


def test_the_model_files_are_those_that_are_fetched():
    files = [default_file(role) for role in ("SAMA model", "text encoder", "VAE")]
    rows = [[cell.strip("`") for cell in row] for row in table("Model files")]
    assert len(rows) == len(files)
    for (name, size, folder, source), file in zip(rows, files, strict=True):
        assert (name, folder, source) == (file.filename, f"models/{file.folder}", file.repo)
        assert float(size.removesuffix(" GB")) == pytest.approx(file.size / 1e9, abs=0.05)
    total = sum(file.size for file in files)
    assert f"(about {round(total / 1e9)} GB)" in TEXT


def test_every_workflow_is_in_it():
    named = [row[0].strip("`") for row in table("Workflows")]
    assert sorted(named) == [path.stem for path in sorted((ROOT / "workflows").glob("*.json"))]


def test_every_node_is_in_it(comfyui, pack):
    named = [name for row in table("Nodes") for name in row[0].split(", ")]
    schemas = [comfyui.node_class(node_id).define_schema() for node_id in pack.node_ids]
    assert sorted(named) == sorted(schema.display_name for schema in schemas)
