"""What the Registry hands out is enough to run: every file that is read is in the archive."""

import os
import re
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest

from ..harness.archive import is_ignored, write_archive
from ..harness.comfy_home import comfy_source
from ..harness.imports import REPO_ROOT

LEFT_OUT = ("tests", ".ci", ".github", "requirements-test.txt")
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")
"""Where a link inside the pack leads, without the heading."""
WATCHED = Path(__file__).with_name("watched.py")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The pack's folder as an install leaves it."""
    return write_archive(tmp_path_factory.mktemp("installed") / "ComfyUI-SAMA")


@pytest.fixture
def run(installed, tmp_path):
    """`run("edit", …)` in that folder, without pip: (the ended process, the pack's files it
    opened)."""

    def command(*arguments: str) -> tuple[subprocess.CompletedProcess, set[PurePosixPath]]:
        notes = tmp_path / "opened"
        notes.touch()
        environ = {name: value for name, value in os.environ.items() if name != "COMFYUI_PATH"}
        environ["PYTHONDONTWRITEBYTECODE"] = (
            "1"  # else a second command opens what the first one compiled
        )
        done = subprocess.run(
            [sys.executable, WATCHED, installed, notes, installed / "run.py", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env=environ,
            check=False,
        )
        return done, {PurePosixPath(line) for line in notes.read_text().splitlines()}

    return command


def missing(installed: Path, opened: set[PurePosixPath]) -> list[str]:
    """What was opened, is in the repository, and is not in the archive."""
    return sorted(
        str(path)
        for path in opened
        if "__pycache__" not in path.parts
        and (REPO_ROOT / path).is_file()
        and not (installed / path).is_file()
    )


def test_what_is_left_out(installed):
    assert [name for name in LEFT_OUT if (installed / name).exists()] == []
    assert all(
        (installed / name).exists()
        for name in ("run.py", "constraints.txt", "pyproject.toml", "web", "nodes")
    )


@pytest.mark.parametrize("folder", ["locales", "subgraphs", "web", "workflows"])
def test_what_comfyui_reads_for_the_canvas_is_there(installed, folder):
    files = {path.relative_to(REPO_ROOT) for path in (REPO_ROOT / folder).rglob("*.*")}
    assert files and {name for name in files if not (installed / name).exists()} == set()


def test_what_the_docs_show_is_there(installed):
    """Pictures and numbers of the benchmarks, not their code."""
    assert [path.name for path in (installed / "benchmarks").iterdir()] == ["results"]
    pages = [installed / "README.md", *installed.glob("docs/**/*.md")]
    links = [
        (page.relative_to(installed), target)
        for page in pages
        for target in LINK.findall(page.read_text(encoding="utf-8"))
    ]
    assert len(links) > 50
    assert [link for link in links if not (installed / link[0].parent / link[1]).exists()] == []


def test_an_edit_from_an_install(run, installed, tmp_path):
    """Set-up, a real server that imports the nodes, the edit, its picture."""
    done, opened = run(
        "edit",
        "--comfyui",
        str(comfy_source().folder),
        "--steps",
        "1",
        "--frames",
        "5",
        "--out",
        "out.mp4",
        "--picture",
        "out.png",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "out.mp4").stat().st_size and (tmp_path / "out.png").stat().st_size
    assert missing(installed, opened) == []
    read = {str(path) for path in opened}
    assert {
        "constraints.txt",
        "pyproject.toml",
        "workflows/api/simple_edit.json",
        "workflows/moving_shapes.mp4",
        "nodes/convert.py",
        "sama_core/embedded/vae/sama_shapes_vae.safetensors",
    } <= read


@pytest.mark.parametrize(
    "arguments",
    [
        *([name, "--help"] for name in ("edit", "serve", "models", "plan", "convert", "test")),
        ["models"],
        ["plan"],
        [
            "convert",
            "sama_shapes.safetensors",
            "--format",
            "fp8",
            "--out",
            "{out}",
            "--comfyui",
            "{comfyui}",
        ],
    ],
    ids=" ".join,
)
def test_commands_from_an_install(run, installed, tmp_path, arguments):
    done, opened = run(
        *(word.format(out=tmp_path, comfyui=comfy_source().folder) for word in arguments)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert PurePosixPath("sama_core/launch/cli.py") in opened and missing(installed, opened) == []


def test_the_test_command_says_where_the_tests_are(run):
    done, _ = run("test")
    assert done.returncode == 1 and done.stdout == ""
    assert "run.py test: got an install without the tests" in done.stderr
    assert "git clone https://github.com/comfyui-sama/ComfyUI-SAMA" in done.stderr


@pytest.mark.parametrize(
    ("path", "rule", "expected"),
    [
        ("tests", "tests/", True),
        ("a/tests", "tests/", True),
        ("a/tests", "/tests/", False),
        ("tests.py", "tests/", False),
        ("a/b.part", "*.part", True),
        ("a/b/c.txt", "a/*.txt", False),
        ("a/c.txt", "a/*.txt", True),
        ("a/b/c.txt", "a/**/c.txt", True),
        ("a/c.txt", "a/**/c.txt", True),
        ("constraints.txt", "constraints.txt", True),
    ],
)
def test_rules(path, rule, expected):
    path = PurePosixPath(path)
    assert is_ignored(path, not path.suffix, [rule]) is expected
    assert not is_ignored(path, not path.suffix, [rule, f"!{rule}"])
