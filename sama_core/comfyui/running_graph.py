"""The graph that is running: what decides the output of each of its nodes.

ComfyUI hands a node's output again to every node of a later graph that has the same inputs, and the
same nodes before it. A signature stands for just these.
"""

import hashlib
import json
from collections.abc import Mapping


def sign_running_nodes() -> dict[str, str]:
    """The signature of every node of the graph that is running in this thread, by its id; none
    where no graph runs (tests, scripts).
    """
    try:
        from comfy_execution.progress import get_progress_state
        from comfy_execution.utils import get_executing_context

        if get_executing_context() is None:
            return {}
        prompt = get_progress_state().dynprompt
        return sign_nodes({name: prompt.get_node(name) for name in prompt.all_node_ids()})
    except (ImportError, AttributeError):
        return {}


def sign_nodes(graph: Mapping[str, Mapping]) -> dict[str, str]:
    """The signature of every node of a graph in API format, by its id."""
    signed: dict[str, str] = {}

    def sign(name: str) -> str:
        if name not in signed:
            signed[name] = ""  # what a circle finds
            node = graph.get(name, {})
            inputs = {key: follow(value) for key, value in node.get("inputs", {}).items()}
            text = json.dumps([node.get("class_type"), inputs], sort_keys=True, default=repr)
            signed[name] = hashlib.sha256(text.encode()).hexdigest()
        return signed[name]

    def follow(value: object) -> object:
        """A link as the signature of what it comes from; anything else unchanged."""
        linked = isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)
        return [sign(value[0]), value[1]] if linked and value[0] in graph else value

    for name in graph:
        sign(name)
    return {name: signed[name] for name in graph}
