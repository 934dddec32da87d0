"""What runs outside of this machine: CI's script, GitHub's workflows, the hooks of pre-commit, and
the one version."""

import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib

import pytest
import yaml

from sama_core.launch.cli import parser
from sama_core.launch.places import PACK_ROOT
from sama_core.version import VERSION

WORKFLOWS = PACK_ROOT / ".github" / "workflows"
PINS = dict(
    line.split("==")
    for line in (PACK_ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if "==" in line
)
ON = True
"""YAML 1.1 reads the key `on` as true."""


def workflow(name: str) -> dict:
    return yaml.safe_load((WORKFLOWS / name).read_text(encoding="utf-8"))


def steps() -> list[tuple[str, dict]]:
    """Every step of every workflow, with the names of file and job."""
    return [
        (f"{path.name} {name}", step)
        for path in sorted(WORKFLOWS.glob("*.yml"))
        for name, job in workflow(path.name)["jobs"].items()
        for step in job.get("steps", [])
    ]


def test_ci_calls_the_test_command():
    script = PACK_ROOT / ".ci" / "run"
    assert "python3 run.py test" in script.read_text() and os.access(script, os.X_OK)
    whole = [step for where, step in steps() if where == "tests.yml whole-suite"]
    assert [step["run"] for step in whole if "run" in step] == [".ci/run"]


def test_every_step_is_one_of_known_form():
    for where, step in steps():
        assert ("uses" in step) != ("run" in step), where
        assert step.keys() <= {"name", "uses", "run", "with", "env"}, where
        assert "run" in step or re.fullmatch(r"[\w-]+/[\w-]+@v\d+", step["uses"]), where


def test_every_job_ends_by_itself_and_may_write_nothing_it_need_not():
    for path in WORKFLOWS.glob("*.yml"):
        told = workflow(path.name)
        assert told["permissions"] == {"contents": "read"}
        for name, job in told["jobs"].items():
            assert "uses" in job or {"runs-on", "timeout-minutes", "steps"} <= job.keys(), name
            assert set(job.get("needs", "").split()) <= told["jobs"].keys()


def test_rooms_without_comfyui_exist():
    job = workflow("tests.yml")["jobs"]["without-comfyui"]
    assert job["strategy"]["matrix"]["system"] == ["windows-latest", "macos-latest"]
    assert job["runs-on"] == "${{ matrix.system }}"
    rooms = job["env"]["ROOMS"].split()
    assert len(rooms) == 10 and all((PACK_ROOT / room).is_dir() for room in rooms)
    install, run = (step["run"] for step in job["steps"] if "run" in step)
    files = [word for word in shlex.split(install) if word.endswith(".txt")]
    assert len(files) == 4 and all((PACK_ROOT / name).is_file() for name in files)
    assert '-m "not comfyui" $ROOMS' in run
    project = tomllib.loads((PACK_ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    markers = project["tool"]["pytest"]["ini_options"]["markers"]
    assert any(marker.startswith("comfyui:") for marker in markers)


def test_tests_that_start_a_comfyui_are_marked(request, pytestconfig):
    """Of the tests that run now; a whole run has all of them."""
    for item in request.session.items:
        needs = not {"comfyui", "comfy_server"}.isdisjoint(item.fixturenames)
        assert (item.get_closest_marker("comfyui") is not None) == needs, item.nodeid


def test_a_version_tag_publishes_after_the_tests():
    told = workflow("publish.yml")
    assert told[ON] == {"push": {"tags": ["v*"]}}
    job = told["jobs"]["publish"]
    assert job["needs"] == "tests"
    assert told["jobs"]["tests"]["uses"] == "./.github/workflows/tests.yml"
    assert "workflow_call" in workflow("tests.yml")[ON]
    (publish,) = (s for s in job["steps"] if s.get("uses", "").startswith("Comfy-Org/"))
    assert publish["with"] == {"personal_access_token": "${{ secrets.REGISTRY_ACCESS_TOKEN }}"}


@pytest.mark.parametrize(("tag", "refused"), [(f"v{VERSION}", None), ("v9.9", "tag v9.9, but")])
def test_another_tag_than_the_version_is_refused(monkeypatch, tag, refused):
    (check,) = (step["run"] for where, step in steps() if "publish" in where and "run" in step)
    python, option, program = shlex.split(check)
    assert (python, option) == ("python", "-c")
    monkeypatch.chdir(PACK_ROOT)
    monkeypatch.setenv("GITHUB_REF_NAME", tag)
    with pytest.raises(SystemExit) as ended:
        exec(program, {})
    assert refused in ended.value.code if refused else not ended.value.code


def test_hooks_have_the_versions_of_ci():
    config = yaml.safe_load((PACK_ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    hooks = [hook for repo in config["repos"] for hook in repo["hooks"]]
    assert {repo["repo"] for repo in config["repos"]} == {"local"}
    for hook in hooks:
        for package in hook.get("additional_dependencies", []):
            name, version = package.split("==")
            assert PINS[name] == version
    (last,) = (hook["entry"] for hook in hooks if hook["language"] == "system")
    assert last.startswith("python3 run.py ")
    options = parser().parse_args(last.split()[2:])
    assert options.command == "test" and options.checks


def test_the_version_stands_in_one_place():
    project = (PACK_ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert tomllib.loads(project)["project"]["version"] == VERSION
    assert re.fullmatch(r"\d+\.\d+\.\d+", VERSION)
    source = (PACK_ROOT / "sama_core" / "version.py").read_text(encoding="utf-8")
    assert VERSION not in source


def test_a_copy_of_sama_core_outside_the_pack_has_no_version(tmp_path):
    """Nor does it take the version of the project that it was copied into."""
    (tmp_path / "sama_core").mkdir()
    copy = shutil.copy(PACK_ROOT / "sama_core" / "version.py", tmp_path / "sama_core")
    projects = (None, '[project]\nname = "theirs"\nversion = "7"', "[tool]", "no = = toml")
    for project in projects:
        if project:
            (tmp_path / "pyproject.toml").write_text(project)
        assert runpy.run_path(copy)["VERSION"] == "unknown"


def test_the_checks_pass_in_a_folder_of_any_name(tmp_path):
    """ComfyUI-SAMA, the usual name of a clone, is no name of a Python package."""
    folder = tmp_path / "ComfyUI-SAMA (1)"
    (folder / "sama_core").mkdir(parents=True)
    for name in ("__init__.py", "sama_core/__init__.py", "sama_core/errors.py", "pyproject.toml"):
        shutil.copy(PACK_ROOT / name, folder / name)
    for check in (["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]):
        done = subprocess.run(
            [sys.executable, "-m", *check], cwd=folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
