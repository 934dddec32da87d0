"""How well a small SAMA edits the procedural scenes: held-out clips, scores, a gate per edit.

    held-out clips ──source, words──▶ editor ──▶ uint8 output ──▶ clip_scores ──▶ summary
          │                       (core | ComfyUI)                    ▲              │
          └──truth, wrong edits, mask, tracks─────────────────────────┘      row, verdict

`evaluate(editor, kinds, seed, count)` does all of it.
"""

from .core_editor import CoreEditor, Editor, Settings, load_core_editor
from .evaluate import Gate, evaluate, summary

__all__ = ["CoreEditor", "Editor", "Gate", "Settings", "evaluate", "load_core_editor", "summary"]
