"""What a server says of the pack to programs that want to use it: the route /sama/pack.

    {"version": "0.2.0", "id": "…"}

`id` is that of the program which started this server by `run.py … --keep`, else null: by it that
program knows its own server again.
"""

import os

from ..version import KEPT_ID, PACK_ROUTE, VERSION
from .node_progress import find_server


def offer_facts() -> None:
    """Adds the route to ComfyUI's server; does nothing where there is none (tests, scripts)."""
    server = find_server()
    if server is None:
        return
    from aiohttp import web

    facts = {"version": VERSION, "id": os.environ.get(KEPT_ID)}

    @server.routes.get(PACK_ROUTE)
    async def tell(request: web.Request) -> web.Response:
        return web.json_response(facts)
