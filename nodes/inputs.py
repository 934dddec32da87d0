"""What nodes of several families share, free of everything that one family alone needs."""

from comfy_api.latest import io
from server import PromptServer

ClipInfoType = io.Custom("SAMA_CLIP_INFO")


def say_in(node_id: str):
    """A function that shows one line of text in the node while it runs."""
    return lambda text: PromptServer.instance.send_progress_text(text, node_id)
