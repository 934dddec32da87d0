"""What set-up installs, in which order, and how it goes on after an accident, with a runner that
only takes notes."""

import importlib.util
import io
import sys

import pytest

from sama_core.launch.places import PACK_ROOT, Places
from sama_core.launch.progress import LaunchError, Stages
from sama_core.launch.server.comfy_main import torch_build
from sama_core.launch.setup.environment import Environment, strip_cuda_audio

from ..stand_ins import WHOLE_SET_UP, Notes, get_ready, make_comfyui


def test_set_up_from_nothing_and_again(pack):
    notes = Notes(pack)
    get_ready(pack, notes)
    assert notes.did == WHOLE_SET_UP
    get_ready(pack, notes)
    assert notes.did == WHOLE_SET_UP


@pytest.mark.parametrize("broken", range(len(WHOLE_SET_UP)))
def test_set_up_goes_on_at_the_step_that_failed(pack, broken):
    notes = Notes(pack)
    notes.fail = WHOLE_SET_UP[broken]
    with pytest.raises(LaunchError, match="failed"):
        get_ready(pack, notes)
    assert notes.did == WHOLE_SET_UP[:broken]
    notes.fail = None
    get_ready(pack, notes)
    assert notes.did == WHOLE_SET_UP


def test_tests_add_one_step(pack):
    notes = Notes(pack)
    get_ready(pack, notes)
    get_ready(pack, notes, tests=True)
    assert notes.did == [*WHOLE_SET_UP, "installing the test requirements"]


def test_training_adds_one_step_once(pack):
    notes = Notes(pack)
    get_ready(pack, notes)
    for _ in range(2):
        get_ready(pack, notes, training=True)
    assert notes.did == [*WHOLE_SET_UP, "installing what training needs"]


def test_other_constraints_install_again(pack):
    notes = Notes(pack)
    get_ready(pack, notes)
    (pack.root / "constraints.txt").write_text("torch==2\n")
    get_ready(pack, notes)
    assert notes.did == [*WHOLE_SET_UP, *WHOLE_SET_UP[1:]]


def test_a_deleted_environment_is_made_again_without_clearing(pack):
    notes = Notes(pack)
    get_ready(pack, notes)
    pack.python.unlink()
    get_ready(pack, notes)
    assert notes.did == WHOLE_SET_UP * 2
    assert "--clear" not in notes.commands["making .venv"]


def test_an_environment_behind_a_link_is_never_cleared(pack, tmp_path, monkeypatch):
    notes = Notes(pack)
    get_ready(pack, notes)
    elsewhere = tmp_path / "of another installation"
    pack.venv.rename(elsewhere)
    pack.venv.symlink_to(elsewhere, target_is_directory=True)
    monkeypatch.setattr(sys, "version_info", (3, 99, 0))
    with pytest.raises(LaunchError, match="a link to another installation's environment"):
        get_ready(pack, notes)
    assert "--clear" not in notes.commands["making .venv"] and (elsewhere / "bin").is_dir()


def test_another_python_clears_the_environment(pack, monkeypatch):
    notes = Notes(pack)
    get_ready(pack, notes)
    monkeypatch.setattr(sys, "version_info", (3, 99, 0))
    get_ready(pack, notes)
    assert "--clear" in notes.commands["making .venv"]


def test_an_environment_of_another_folder_is_not_cleared_through_a_link(pack, tmp_path):
    """The other folder's environment stays whole, its marks too."""
    own, other = Notes(pack), pack.venv
    get_ready(pack, own)
    copy = Places(root=tmp_path / "copy", work=tmp_path / "copy")
    copy.root.mkdir()
    for name in ("constraints.txt", "requirements-test.txt", "pyproject.toml"):
        (copy.root / name).write_text((tmp_path / name).read_text())
    copy.venv.symlink_to(other)
    with pytest.raises(LaunchError, match="a link to another installation's environment"):
        get_ready(copy, Notes(copy))
    get_ready(pack, own)
    assert own.did == WHOLE_SET_UP


def test_pip_installs_from_names_alone(pack):
    notes = Notes(pack)
    get_ready(pack, notes, tests=True)
    everything = " ".join(part for command in notes.commands.values() for part in command)
    assert "://" not in everything and "index" not in everything and "find-links" not in everything
    pins = str(pack.root / "constraints.txt")
    assert notes.commands["installing torchaudio"][-4:] == ["--no-deps", "torchaudio", "-c", pins]
    assert notes.commands["installing the pack's requirements"][-3] == "ftfy"


def test_comfyui_requirements_without_what_is_installed_apart(pack):
    notes = Notes(pack)
    get_ready(pack, notes)
    wanted = (pack.runtime / "comfyui_requirements.txt").read_text()
    assert wanted == "comfyui-frontend-package==1.0\ntorchsde\nnumpy>=1.25\n"


def test_the_artists_own_comfyui_is_not_pinned(pack, tmp_path):
    own = tmp_path / "mine" / "ComfyUI"
    make_comfyui(own)
    notes = Notes(pack)
    get_ready(pack, notes, asked=str(own))
    assert "-c" not in notes.commands["installing ComfyUI's requirements"]


def test_missing_ensurepip_says_what_to_install(pack, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "ensurepip" else real(name)
    )
    with pytest.raises(LaunchError, match="python3-venv"):
        get_ready(pack, Notes(pack))


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
