"""How well a small SAMA edits the procedural scenes: held-out clips, scores per clip, a gate per edit.

    held_out ──▶ EditBatch ──source, words──▶ editor ──▶ 8-bit output ──clip_scores──▶ a row per clip
                     │                     (core | ComfyUI)                  │
                     └──truth, wrong edits, mask, tracks─────────────────────┘        rows ──gate──▶ table, verdict

`evaluate(editor, kinds, seed, count)` is the whole of it; `benchmarks/shapes_bench.py` is its command.
"""

from .core_editor import CoreEditor, Editor, Settings, load_core_editor
from .evaluate import Gate, evaluate, summary

__all__ = ["CoreEditor", "Editor", "Gate", "Settings", "evaluate", "load_core_editor", "summary"]
