"""What set-up installs, in which order, and how it goes on after an accident, with a runner that only takes notes."""

import importlib.util
import io
import sys

import pytest

from sama_core.launch.places import PACK_ROOT, Places
from sama_core.launch.progress import LaunchError, Stages
from sama_core.launch.server.comfy_main import cpu_only, torch_build
from sama_core.launch.setup.environment import Environment, strip_cuda_audio
from sama_core.launch.setup.processes import Commands, remedy

REQUIREMENTS = """comfyui-frontend-package==1.0
comfyui-workflow-templates==1.0
comfyui-embedded-docs==1.0
torch
torchsde
torchvision
torchaudio>=2
numpy>=1.25
"""
WHOLE_SET_UP = [
    "making .venv",
    "installing torch (the largest part)",
    "installing torchvision",
    "installing torchaudio",
    "installing ComfyUI's requirements",
    "installing the pack's requirements",
]


class Notes:
    """Stands in for Commands: notes every command; `fail` is the one that does not succeed."""

    def __init__(self, places: Places):
        self.places = places
        self.did: list[str] = []
        self.commands: dict[str, list[str]] = {}
        self.fail: str | None = None

    def run(self, argv, what, cwd=None):
        if what == self.fail:
            raise LaunchError(f"{what}: failed")
        self.did.append(what)
        self.commands[what] = [str(part) for part in argv]
        if what == "making .venv":
            self.places.python.parent.mkdir(parents=True, exist_ok=True)
            self.places.python.touch()


@pytest.fixture
def pack(tmp_path, monkeypatch) -> Places:
    """A pack's folder with the files set-up reads, and a ComfyUI that has been fetched."""
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    (tmp_path / "constraints.txt").write_text("torch==1\n")
    (tmp_path / "requirements-test.txt").write_text("pytest\n")
    (tmp_path / "pyproject.toml").write_text('[project]\ndependencies = ["ftfy"]\n')
    places = Places(root=tmp_path, work=tmp_path)
    _comfyui(places.comfyui)
    return places


def _comfyui(folder) -> None:
    (folder / "comfy").mkdir(parents=True)
    (folder / "main.py").touch()
    (folder / "comfyui_version.py").write_text('__version__ = "0.30.0"')
    (folder / "requirements.txt").write_text(REQUIREMENTS)


def _ready(places: Places, notes: Notes, **options) -> None:
    Environment(places, Stages(io.StringIO()), notes).ready(**options)


def test_set_up_from_nothing_and_again(pack):
    notes = Notes(pack)
    _ready(pack, notes)
    assert notes.did == WHOLE_SET_UP
    _ready(pack, notes)
    assert notes.did == WHOLE_SET_UP


@pytest.mark.parametrize("broken", range(len(WHOLE_SET_UP)))
def test_set_up_goes_on_at_the_step_that_failed(pack, broken):
    notes = Notes(pack)
    notes.fail = WHOLE_SET_UP[broken]
    with pytest.raises(LaunchError, match="failed"):
        _ready(pack, notes)
    assert notes.did == WHOLE_SET_UP[:broken]
    notes.fail = None
    _ready(pack, notes)
    assert notes.did == WHOLE_SET_UP


def test_tests_add_one_step(pack):
    notes = Notes(pack)
    _ready(pack, notes)
    _ready(pack, notes, tests=True)
    assert notes.did == [*WHOLE_SET_UP, "installing the test requirements"]


def test_other_constraints_install_again(pack):
    notes = Notes(pack)
    _ready(pack, notes)
    (pack.root / "constraints.txt").write_text("torch==2\n")
    _ready(pack, notes)
    assert notes.did == [*WHOLE_SET_UP, *WHOLE_SET_UP[1:]]


def test_a_deleted_environment_is_made_again_without_clearing(pack):
    notes = Notes(pack)
    _ready(pack, notes)
    pack.python.unlink()
    _ready(pack, notes)
    assert notes.did == WHOLE_SET_UP * 2
    assert "--clear" not in notes.commands["making .venv"]


def test_another_python_clears_the_environment(pack, monkeypatch):
    notes = Notes(pack)
    _ready(pack, notes)
    monkeypatch.setattr(sys, "version_info", (3, 99, 0))
    _ready(pack, notes)
    assert "--clear" in notes.commands["making .venv"]


def test_pip_installs_from_names_alone(pack):
    notes = Notes(pack)
    _ready(pack, notes, tests=True)
    everything = " ".join(part for command in notes.commands.values() for part in command)
    assert "://" not in everything and "index" not in everything and "find-links" not in everything
    pins = str(pack.root / "constraints.txt")
    assert notes.commands["installing torchaudio"][-4:] == ["--no-deps", "torchaudio", "-c", pins]
    assert notes.commands["installing the pack's requirements"][-3] == "ftfy"


def test_comfyui_requirements_without_what_is_installed_apart(pack):
    notes = Notes(pack)
    _ready(pack, notes)
    wanted = (pack.runtime / "comfyui_requirements.txt").read_text()
    assert wanted == "comfyui-frontend-package==1.0\ntorchsde\nnumpy>=1.25\n"


def test_the_artists_own_comfyui_is_not_pinned(pack, tmp_path):
    own = tmp_path / "mine" / "ComfyUI"
    _comfyui(own)
    notes = Notes(pack)
    _ready(pack, notes, asked=str(own))
    assert "-c" not in notes.commands["installing ComfyUI's requirements"]


def test_missing_ensurepip_says_what_to_install(pack, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "ensurepip" else real(name)
    )
    with pytest.raises(LaunchError, match="python3-venv"):
        _ready(pack, Notes(pack))


def test_a_failed_command_shows_cause_log_and_remedy(tmp_path):
    log = tmp_path / "setup.log"
    program = (
        "import sys; print('line before'); print('OSError: No space left on device'); sys.exit(3)"
    )
    with pytest.raises(LaunchError) as caught:
        Commands(log).run([sys.executable, "-c", program], "installing x")
    text = str(caught.value)
    assert text.startswith("installing x: failed with exit code 3. The disk is full")
    assert "    line before\n    OSError: No space left on device" in text and str(log) in text


def test_a_command_that_cannot_start_is_a_sentence(tmp_path):
    with pytest.raises(LaunchError, match="could not start"):
        Commands(tmp_path / "setup.log").run([tmp_path / "nothing"], "installing x")


@pytest.mark.parametrize(
    ("output", "advice"),
    [
        ("Temporary failure in name resolution", "check the network"),
        ("Read timed out.", "check the network"),
        ("No matching distribution found for torch", "Python 3.11"),
        ("something else", "delete .venv"),
    ],
)
def test_remedies(output, advice):
    assert advice in remedy(output)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux wheels link CUDA")
@pytest.mark.parametrize(
    ("cuda", "left"), [(None, ["pure.py"]), ("12.8", ["_torchaudio.so", "pure.py"])]
)
def test_cuda_audio_is_stripped_from_cpu_torch_only(tmp_path, cuda, left):
    site_packages = tmp_path / "lib" / "python3.11" / "site-packages"
    library = site_packages / "torchaudio" / "lib"
    for folder in (library, site_packages / "torch"):
        folder.mkdir(parents=True)
    (site_packages / "torch" / "version.py").write_text(f"cuda = {cuda!r}\nhip = None\n")
    for name in ("_torchaudio.so", "pure.py"):
        (library / name).touch()
    strip_cuda_audio(tmp_path)
    assert sorted(path.name for path in library.iterdir()) == left
    assert torch_build(site_packages) == {"cuda": cuda, "hip": None, "xpu": None}


@pytest.mark.parametrize(
    ("cuda", "card", "told"), [(None, True, True), (None, False, False), ("12.8", True, False)]
)
def test_a_card_that_torch_cannot_use_is_told(pack, monkeypatch, cuda, card, told):
    torch = pack.venv / "lib" / "python3.11" / "site-packages" / "torch"
    torch.mkdir(parents=True)
    (torch / "version.py").write_text(f"cuda = {cuda!r}\n")
    monkeypatch.setattr("sama_core.launch.setup.environment.graphics_card_answers", lambda: card)
    stream = io.StringIO()
    for _ in range(2):
        Environment(pack, Stages(stream), Notes(pack)).ready()
    assert stream.getvalue().count("There is an NVIDIA card") == told


@pytest.mark.parametrize(
    ("build", "card", "expected"),
    [
        ({"cuda": None, "hip": None, "xpu": None}, False, True),
        ({"cuda": "12.8", "hip": None, "xpu": None}, False, True),
        ({"cuda": "12.8", "hip": None, "xpu": None}, True, False),
        ({"cuda": None, "hip": "6", "xpu": None}, False, False),
    ],
)
def test_when_comfyui_is_told_to_use_the_cpu(monkeypatch, build, card, expected):
    monkeypatch.setattr("sama_core.launch.server.comfy_main.graphics_card_answers", lambda: card)
    monkeypatch.setattr(sys, "platform", "linux")
    assert cpu_only(build) is expected


def test_constraints_pin_versions_and_name_no_place():
    lines = (PACK_ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all("==" in line and "+" not in line and "/" not in line for line in pins)
    names = {line.partition("==")[0].lower().replace("_", "-") for line in pins}
    assert {
        "torch",
        "torchvision",
        "torchaudio",
        "numpy",
        "ftfy",
        "pytest",
        "huggingface-hub",
    } <= names
    assert not {"comfy-kitchen", "comfy-aimdo", "comfyui-frontend-package"} & names
