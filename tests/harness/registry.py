"""Starts ComfyUI's node registry in the test process, in the order that works; loads the pack."""

import asyncio
import importlib
import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from . import imports
from .comfy_home import comfy_source, declare_torchvision_schemas

BASE_FOLDERS = ("custom_nodes", "models", "input", "output", "temp", "user")


@dataclass(frozen=True)
class Pack:
    """The pack as ComfyUI loaded it."""

    name: str
    """Of its root module."""
    node_ids: tuple[str, ...]
    """All its nodes."""

    def module(self, dotted: str = "") -> ModuleType:
        """A module of the pack, `module("nodes.load")`; without a name its root module."""
        return importlib.import_module(f"{self.name}.{dotted}" if dotted else self.name)


def start_registry(base: Path) -> None:
    """Import ComfyUI with base directory `base`, register its nodes (7-10 s, once a process)."""
    import_core(base)
    import folder_paths
    import nodes
    import server

    server.PromptServer(
        asyncio.new_event_loop()
    )  # nodes of ComfyUI's own speak to it when they are loaded
    for folders, _extensions in folder_paths.folder_names_and_paths.values():
        for folder in map(Path, folders):
            if folder.is_relative_to(base):
                folder.mkdir(parents=True, exist_ok=True)
    asyncio.run(nodes.init_extra_nodes(init_custom_nodes=False, init_api_nodes=False))


def import_core(base: Path) -> None:
    """Import ComfyUI as its main.py would, on the CPU, with `base` as its base directory."""
    declare_torchvision_schemas()
    for folder in (*BASE_FOLDERS, "empty_front_end"):
        (base / folder).mkdir(parents=True, exist_ok=True)
    sys.path.insert(0, str(comfy_source().folder))

    import comfy.options  # noqa: F401  before cli_args: leaves sys.argv, which is pytest's, unparsed
    from comfy.cli_args import args

    args.cpu = True
    args.base_directory = str(base)
    args.disable_api_nodes = True
    args.database_url = "sqlite:///:memory:"
    args.front_end_root = str(base / "empty_front_end")

    import utils.extra_config  # noqa: F401  before `nodes`, which imports another `utils` on some machines

    # isort: split
    import nodes  # noqa: F401


def load_pack(root: Path = imports.REPO_ROOT) -> Pack | None:
    """Load the pack the way ComfyUI does; None while it has no `__init__.py`.

    Raises AssertionError, with ComfyUI's log, when anything about it fails.
    """
    import nodes

    if not (root / "__init__.py").is_file():
        return None
    offenders = imports.absolute_self_imports(root)
    assert not offenders, (
        f"inside the pack import {imports.LIBRARY} relatively: {', '.join(offenders)}"
    )

    name = str(root).replace(".", "_x_")  # nodes.load_custom_node's own rule
    imports.alias(name)
    known = set(nodes.NODE_CLASS_MAPPINGS)
    log = _Collector()
    logging.getLogger().addHandler(log)
    try:
        loaded = asyncio.run(nodes.load_custom_node(str(root), ignore=known))
    finally:
        logging.getLogger().removeHandler(log)
    assert loaded and not log.lines, "ComfyUI did not load the pack cleanly:\n" + "\n".join(
        log.lines
    )
    return Pack(name, tuple(sorted(set(nodes.NODE_CLASS_MAPPINGS) - known)))


class _Collector(logging.Handler):
    """Keeps what is logged at WARNING and above."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record):
        self.lines.append(record.getMessage())
