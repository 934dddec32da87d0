"""What a server says of the pack to programs that want to use it: the route /sama/pack.

    {"version": "0.2.0", "id": "…", "unused": []}

`id` is that of the program which started this server by `run.py … --keep`, else null: by it that
program knows its own server again. `unused` are the folders of other copies of the pack, see
`copies`.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from ..version import KEPT_ID, PACK_ROUTE, VERSION
from .node_progress import find_server

_VERSION = ".sama_core.version"
"""How the name of a copy's module that knows its version ends."""


@dataclass(frozen=True)
class Copy:
    """One copy of the pack that ComfyUI has loaded."""

    package: str
    """Its name in `sys.modules`."""
    folder: Path
    """Where it lies."""
    version: str
    """As its pyproject.toml has it."""

    def __str__(self) -> str:
        return f"{self.folder} ({self.version})"

    def has(self, place: str | Path) -> bool:
        """Whether a file or folder lies in this copy."""
        return Path(place).is_relative_to(self.folder)


def find_copies() -> list[Copy]:
    """All copies that are loaded, the one that is used first: the newest that knows of others."""
    found = [
        Copy(name.removesuffix(_VERSION), Path(module.__file__).parents[1], module.VERSION)
        for name, module in list(sys.modules.items())
        if name.endswith(_VERSION) and getattr(module, "__file__", None)
    ]
    by_folder = sorted(found, key=lambda copy: str(copy.folder))
    return sorted(by_folder, key=_rank, reverse=True)


def _rank(copy: Copy) -> tuple[list[int], bool]:
    knows_others = f"{copy.package}.sama_core.comfyui.copies" in sys.modules
    return [int(part) for part in copy.version.split(".") if part.isdecimal()], knows_others


def offer_facts() -> None:
    """Adds the route to ComfyUI's server, in the place of another copy's; does nothing where there
    is no server (tests, scripts).
    """
    server = find_server()
    if server is None:
        return
    from aiohttp import web

    # Two routes of one path would end ComfyUI as it starts.
    listed = getattr(server.routes, "_items", [])
    listed[:] = [route for route in listed if getattr(route, "path", None) != PACK_ROUTE]

    @server.routes.get(PACK_ROUTE)
    async def tell(request: web.Request) -> web.Response:
        facts = {"version": VERSION, "id": os.environ.get(KEPT_ID), "unused": name_unused()}
        return web.json_response(facts)


def name_unused() -> list[str]:
    """The folders of all copies but the one that is used, short."""
    return [f"{copy.folder.parent.name}/{copy.folder.name}" for copy in find_copies()[1:]]
