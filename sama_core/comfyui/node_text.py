"""Lines of text in the node that is running, whoever's node it is: an artist does not read the console."""

import sys
from collections.abc import Iterable

_NOTHING = " "
"""What takes words away: ComfyUI's frontend passes over an empty text, and the old one would stay."""

_told: set[str] = set()
"""Nodes that still show what `tell` put there."""


def show(text: str, node_id: str | None = None) -> bool:
    """Show `text` in a node, the running one unless named; False where there is none, or no server (tests, scripts)."""
    server = getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
    node_id = node_id or _running_node()
    if node_id is None or not hasattr(server, "send_progress_text"):
        return False
    server.send_progress_text(text, node_id)
    return True


def tell(lines: Iterable[str], node_id: str | None = None) -> None:
    """Show what does not go together in a run; where all is well, take an earlier run's words away.

    In the running node unless one is named.
    """
    node_id, text = node_id or _running_node(), "\n".join(line for line in lines if line)
    if node_id is None:
        return
    if text and show(text, node_id):
        _told.add(node_id)
    elif not text and node_id in _told:
        show(_NOTHING, node_id)
        _told.discard(node_id)


def _running_node() -> str | None:
    """The id of the node that the executor is running in this thread."""
    try:
        from comfy_execution.utils import get_executing_context
    except ImportError:
        return None
    context = get_executing_context()
    return None if context is None else str(context.node_id)
