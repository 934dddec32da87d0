"""Folders of clips: which files are clips, in which order, and what their results are called.

    folder ──list_clips──▶ Listing: paths in natural order, what was left out
                              │ name_results
                              ▼
                           names, one for each clip

Nothing is opened here. Needs nothing but Python, so that `run.py` can use it without torch.
"""

from .listing import ENDINGS, Listing, list_clips, natural_order
from .result_names import name_results

__all__ = ["ENDINGS", "Listing", "list_clips", "name_results", "natural_order"]
