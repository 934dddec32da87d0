"""A ComfyUI that set-up did not fetch: an environment of its own, layered over `.venv`, which stays
as it is."""

import subprocess
import venv

import pytest

from sama_core.launch import arguments, cli
from sama_core.launch.commands import test as testing
from sama_core.launch.places import Places
from sama_core.launch.setup.comfyui_source import ComfyUI, places_of
from sama_core.launch.setup.environment import Environment, lay_over

from ..stand_ins import REQUIREMENTS, WHOLE_SET_UP, get_ready, make_comfyui
from ..stand_ins import Notes as SetUpNotes

LAYER = "making an environment for this ComfyUI"
OWN_SET_UP = [*WHOLE_SET_UP[:4], LAYER, *WHOLE_SET_UP[4:]]


class Notes(SetUpNotes):
    """Makes an interpreter in either environment."""

    def run(self, argv, what, cwd=None):
        super().run(argv, what, cwd)
        if what in (LAYER, WHOLE_SET_UP[0]):
            python = argv[-1] / self.places.python.relative_to(self.places.venv)
            python.parent.mkdir(parents=True, exist_ok=True)
            python.touch()


@pytest.fixture
def own(tmp_path):
    """A second ComfyUI, as an artist has it, that wants another frontend."""
    folder = tmp_path / "mine" / "ComfyUI"
    make_comfyui(folder)
    (folder / "requirements.txt").write_text(
        REQUIREMENTS.replace("frontend-package==1.0", "frontend-package==2.0")
    )
    return folder


def test_another_comfyui_gets_a_layer_and_shares_torch(pack, own):
    places = places_of(pack, str(own))
    notes = Notes(places)
    get_ready(places, notes, asked=str(own), tests=True)
    assert notes.did == [*OWN_SET_UP, "installing the test requirements"]
    for name, command in notes.commands.items():
        whole = name in WHOLE_SET_UP[1:4]
        assert name in (WHOLE_SET_UP[0], LAYER) or command[0] == str(
            (pack if whole else places).python
        ), name
    assert places.venv == pack.venv / "trees" / ComfyUI(own, fetched=False).name()
    assert "frontend-package==2.0" in (pack.runtime / "comfyui_requirements.txt").read_text()


def test_going_to_and_fro_installs_nothing_again(pack, own):
    places = places_of(pack, str(own))
    get_ready(pack, fetched := Notes(pack))
    get_ready(places, mine := Notes(places), asked=str(own))
    get_ready(pack, fetched)
    get_ready(places, mine, asked=str(own))
    assert fetched.did == WHOLE_SET_UP and mine.did == OWN_SET_UP[4:]


def test_new_requirements_of_the_tree_are_installed_into_its_layer(pack, own):
    places = places_of(pack, str(own))
    get_ready(places, notes := Notes(places), asked=str(own))
    (own / "requirements.txt").write_text("numpy\n")
    get_ready(places, notes, asked=str(own))
    assert notes.did == [*OWN_SET_UP, *WHOLE_SET_UP[4:]]


def test_every_folder_has_an_environment_of_its_own(pack, own, tmp_path):
    copy = tmp_path / "copy" / "ComfyUI"
    make_comfyui(copy)
    mine, second = (places_of(pack, str(folder)).venv for folder in (own, copy))
    assert mine != second and mine.parent == second.parent == pack.venv / "trees"
    assert places_of(pack).venv == pack.venv, "the fetched one has the whole of it"
    assert places_of(pack, str(tmp_path / "nothing")) == pack, "which the command refuses by name"


def test_commands_run_in_the_environment_of_the_named_comfyui(pack, own, monkeypatch):
    given = []
    monkeypatch.setattr(
        arguments, "serve", lambda options, places, stages: given.append(places) or 0
    )
    assert cli.main(["serve", "--comfyui", str(own)], pack) == 0
    assert given == [places_of(pack, str(own))] and given[0].python != pack.python


def test_the_suite_runs_on_the_named_comfyui_in_its_environment(pack, own, monkeypatch):
    calls = []
    (pack.root / "tests").mkdir()
    monkeypatch.setattr(
        Environment, "ready", lambda self, asked=None, tests=False: ComfyUI(own, fetched=False)
    )
    monkeypatch.setattr(testing, "provide_browser", lambda *arguments: None)
    monkeypatch.setattr(
        testing.subprocess,
        "call",
        lambda command, cwd, env: calls.append((command, env.get("SAMA_COMFYUI"))) or 0,
    )
    assert cli.main(["test", "--comfyui", str(own), "-x"], pack) == 0
    suite, tree = calls[-1]
    assert "pytest" in suite and tree == str(own)
    assert suite[0] == str(places_of(pack, str(own)).python) != str(pack.python)


def test_a_layer_finds_what_lies_below_and_its_own_first(tmp_path):
    below, above = tmp_path / "below", tmp_path / "below" / "trees" / "above"
    for folder in (below, above):
        venv.create(folder)
    lay_over(above, below)
    (first, second) = (next(folder.glob("[lL]ib/**/site-packages")) for folder in (below, above))
    for folder, name, text in (
        (first, "shared", "below"),
        (first, "both", "below"),
        (second, "both", "above"),
    ):
        (folder / f"{name}.py").write_text(f"told = {text!r}\n")
    python = Places(work=tmp_path).python.relative_to(tmp_path / ".venv")
    told = subprocess.run(
        [above / python, "-c", "import shared, both; print(shared.told, both.told)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.split() == ["below", "above"]
    alone = subprocess.run(
        [below / python, "-c", "import both; print(both.told)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert alone.stdout.split() == ["below"]
