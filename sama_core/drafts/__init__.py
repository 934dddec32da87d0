"""Drafts of an edit: what is asked for in a few lines of text, and the sheet that shows them.

    "make it red⏎make it blue" · "1, 5, 7-9" · "0, 8"  ──ask──▶ Asked ──▶ drafts, in order
    drafts and their pictures ──draw_sheet──▶ one labelled picture

Knows nothing of ComfyUI; drafts are drawn in `sama_core.comfyui.drafts`.
"""

from .asked import Asked, Draft, ask
from .sheet import draw_sheet

__all__ = ["Asked", "Draft", "ask", "draw_sheet"]
