"""Several copies of the pack in ComfyUI's custom_nodes, as after a clone beside an older install.

ComfyUI loads all of them, in any order. Each class then exists several times, and a model that one
copy has loaded is none of SAMA's to the nodes of another. So when all packs are loaded, the newest
copy takes the place of the others: its nodes, models and scripts are used, theirs are not, and the
log and the browser say so.
"""

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path

import comfy.supported_models
import folder_paths
import nodes

from .about_pack import Copy, find_copies, offer_facts
from .node_progress import find_server
from .register import SamaConfig

_OURS = __name__.removesuffix(".sama_core.comfyui.copies")
"""The package of this copy, as ComfyUI has named it."""

log = logging.getLogger(__name__)


def settle_when_loaded(ours: Sequence[type]) -> None:
    """Call `settle` when ComfyUI has loaded all packs: before it makes its routes, and once more
    as it begins to serve, for packs that took their time. `ours` are this copy's nodes.
    """

    def work() -> None:
        try:
            settle(ours)
        except Exception:  # ComfyUI is starting, with much else than this pack
            log.warning("SAMA: other copies of the pack were not looked for.", exc_info=True)

    asyncio.get_running_loop().call_soon(work)
    server = find_server()
    if server is not None:

        async def work_at_start(_app: object) -> None:
            work()

        server.app.on_startup.append(work_at_start)


def settle(ours: Sequence[type]) -> None:
    """Let this copy take the place of all others, where there are some and it is the newest."""
    chosen, *others = find_copies() or [None]
    if not others or chosen.package != _OURS:
        return
    _take_nodes(ours, others)
    _take_models(others)
    _take_scripts(chosen, others)
    offer_facts()
    _say(chosen, others)


def _take_nodes(ours: Sequence[type], others: list[Copy]) -> None:
    """Replace the nodes of other copies; one of another pack by the same name stays."""
    listed, titles = nodes.NODE_CLASS_MAPPINGS, nodes.NODE_DISPLAY_NAME_MAPPINGS
    theirs = tuple(f"{copy.package}." for copy in others)
    for node in ours:
        schema = node.GET_SCHEMA()
        registered = listed.get(schema.node_id)
        if registered is not None and registered.__module__.startswith(theirs):
            listed[schema.node_id] = node
            titles[schema.node_id] = schema.display_name


def _take_models(others: list[Copy]) -> None:
    """Load SAMA files as this copy's models, and list its own small ones alone."""
    models = comfy.supported_models.models
    models[:] = [SamaConfig, *(kind for kind in models if kind.__name__ != SamaConfig.__name__)]
    for paths, *_more in folder_paths.folder_names_and_paths.values():
        paths[:] = [
            path
            for path in paths
            if not any(copy.has(path) and "embedded" in Path(path).parts for copy in others)
        ]


def _take_scripts(chosen: Copy, others: list[Copy]) -> None:
    """Hand out this copy's scripts and help pages alone. Workflows of all are still listed."""
    listed = nodes.EXTENSION_WEB_DIRS
    for name, place in list(listed.items()):
        if any(copy.has(place) for copy in others):
            del listed[name]
    if not any(chosen.has(place) for place in listed.values()):
        listed[chosen.folder.name] = str(chosen.folder / "web")  # they had the same name


_said: set[str] = set()


def _say(chosen: Copy, others: list[Copy]) -> None:
    unused = ", ".join(map(str, others))
    text = (
        f"ComfyUI-SAMA is installed {len(others) + 1} times. {chosen} is used, and not {unused}. "
        "Keep one of these folders in custom_nodes, remove the others, and restart ComfyUI."
    )
    if text not in _said:
        _said.add(text)
        log.warning("%s", text)
