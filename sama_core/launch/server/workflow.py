"""The edit workflow in API format: loads it, sets its inputs, names its nodes in errors."""

import json
from pathlib import Path

from ...errors import needed
from ..model_choice import Trio, choose_trio
from ..progress import LaunchError
from .client import Client

EDIT_WORKFLOW = Path("workflows") / "api" / "simple_edit.json"
LOADERS = (
    ("SAMALoadModel", "model_name"),
    ("SAMALoadTextEncoder", "text_encoder_name"),
    ("SAMALoadVAE", "vae_name"),
)
"""The loader of each file of a trio, and its input for the file's name."""
LORA = ("SAMALoadLora", "lora_name")
EDITOR = "SAMAEditWholeVideo"
"""The node that edits."""
ONLY_SHOWS = "SAMACompare"
"""The node that a canvas plays the edit in; without one it would be work for nothing."""


def load_workflow(root: Path) -> dict:
    """The edit workflow of the pack in `root`, without its player.

    `{node id: {class_type, inputs}}`.

    Raises LaunchError if the file is absent or damaged.
    """
    path = root / EDIT_WORKFLOW
    try:
        graph = json.loads(path.read_text(encoding="utf-8"))
        return {key: node for key, node in graph.items() if node["class_type"] != ONLY_SHOWS}
    except (OSError, ValueError) as error:
        raise LaunchError(
            needed(
                "edit workflow",
                f"{path} ({error})",
                "the file that comes with the pack",
                "Update or reinstall the pack.",
            )
        ) from error


def set_inputs(graph: dict, class_type: str, **values: object) -> None:
    """Sets inputs of every node of a class; a value of None keeps the workflow's own.

    Raises LaunchError if the workflow has no such node.
    """
    nodes = [node for node in graph.values() if node["class_type"] == class_type]
    if not nodes:
        raise LaunchError(
            needed("edit workflow", f"no {class_type} node", "one", "Update or reinstall the pack.")
        )
    for node in nodes:
        node["inputs"].update({name: value for name, value in values.items() if value is not None})


def listed_trio(client: Client) -> Trio:
    """The files to edit with, of those that the server's loaders list.

    Raises LaunchError if there are none.
    """
    return choose_trio(*(client.choices(class_type, name) for class_type, name in LOADERS))


def set_models(graph: dict, trio: Trio) -> None:
    """Sets the three file names on the loaders."""
    for (class_type, name), file in zip(
        LOADERS, (trio.diffusion_model, trio.text_encoder, trio.vae), strict=True
    ):
        set_inputs(graph, class_type, **{name: file})


def add_lora(graph: dict, client: Client, name: str, strength: float) -> None:
    """Puts a LoRA of the server's models/loras behind the model's loader.

    Raises LaunchError if the server does not list it.
    """
    listed = client.choices(*LORA)
    if name not in listed:
        raise LaunchError(
            needed(
                "--lora",
                name,
                f"a file of models/loras: {', '.join(listed) or 'there is none'}",
                "Copy it there, or give the name as it stands here.",
            )
        )
    loader = next(key for key, node in graph.items() if node["class_type"] == LOADERS[0][0])
    for node in graph.values():
        for socket, value in node["inputs"].items():
            if value == [loader, 0]:
                node["inputs"][socket] = ["lora", 0]
    graph["lora"] = {
        "class_type": LORA[0],
        "inputs": {"model": [loader, 0], LORA[1]: name, "strength": strength},
    }


def class_types(graph: dict) -> list[str]:
    """Every node class of the workflow, each once."""
    return list(dict.fromkeys(node["class_type"] for node in graph.values()))


def node_name(graph: dict, node_id: str) -> str:
    """A node's name for errors: its title, or else its class, and its id."""
    node = graph.get(str(node_id), {})
    title = node.get("_meta", {}).get("title") or node.get("class_type", "node")
    return f"{title} (node {node_id})"


def refusal(graph: dict, body: bytes) -> str:
    """Why the server refused a queued graph, one line per error; `body` is its answer."""
    try:
        answer = json.loads(body)
        if not isinstance(answer, dict):
            raise ValueError
    except ValueError:
        return f"ComfyUI refused the workflow: {body[:300].decode('utf-8', 'replace')}"
    lines = [
        f"{node_name(graph, node_id)}: {_reason(error)}"
        for node_id, found in (answer.get("node_errors") or {}).items()
        for error in found["errors"]
    ]
    return "\n".join(lines) or f"ComfyUI refused the workflow: {_reason(answer.get('error') or {})}"


def _reason(error: dict) -> str:
    details = error.get("details") or ""
    if error.get("type") == "custom_validation_failed":
        # The node's own message follows the input's name.
        return details.partition(" - ")[2] or details
    return ": ".join(part for part in (error.get("message"), details) if part)
