"""What nodes of several families share, free of everything that one family alone needs."""

from comfy_api.latest import io

from ..sama_core.comfyui import stages as node_text

ClipInfoType = io.Custom("SAMA_CLIP_INFO")


def say_in(node_id: str):
    """A function that shows one line of text in the node while it runs."""
    return lambda text: node_text.show(text, node_id)


def tell_in(node_id: str):
    """A function that shows remarks in the node; without any it takes away those of an earlier run."""
    return lambda remarks: node_text.tell(remarks, node_id)
