"""The pack as the Registry hands it out.

The repository without what `.comfyignore` names, in git's own rules.
"""

import fnmatch
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from .imports import REPO_ROOT


def write_archive(folder: Path, root: Path = REPO_ROOT) -> Path:
    """Copy what an install from the Registry has into `folder`."""
    rules = [
        *_rules(root / ".gitignore"),
        *_rules(root / ".comfyignore"),
        "/.git",
    ]  # a file in a second work tree
    for path in _list_kept(root, PurePosixPath(), rules):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / path, folder / path)
    return folder


def is_ignored(path: PurePosixPath, is_folder: bool, rules: list[str]) -> bool:
    """What the last rule that fits says.

    A rule with a slash before its end counts from the root, others anywhere.
    """
    said = False
    for line in rules:
        kept, folders_only = line.startswith("!"), line.endswith("/")
        rule = line.removeprefix("!").rstrip("/")
        name = str(path) if "/" in rule else path.name
        if (is_folder or not folders_only) and re.fullmatch(_pattern(rule.removeprefix("/")), name):
            said = not kept
    return said


def _pattern(rule: str) -> str:
    """`**` is any number of folders, `*` stays within one."""
    pieces = [
        "(.*/)?"
        if piece == "**"
        else fnmatch.translate(piece)[len("(?s:") : -len(r")\Z")].replace(".*", "[^/]*")
        for piece in rule.split("/")
    ]
    return "/".join(pieces).replace("(.*/)?/", "(.*/)?")


def _rules(file: Path) -> list[str]:
    lines = (line.strip() for line in file.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _list_kept(root: Path, folder: PurePosixPath, rules: list[str]) -> Iterator[PurePosixPath]:
    for entry in os.scandir(root / folder):
        path, is_folder = folder / entry.name, entry.is_dir(follow_symlinks=False)
        if is_ignored(path, is_folder, rules):
            continue
        if is_folder:
            yield from _list_kept(root, path, rules)
        else:
            yield path
