"""Folders of clips: which files are clips, in which order, and what their results are called. And
folders that several processes write to: `shared_folder`, and the lock of `file_lock`.

    folder ──list_clips──▶ Listing: paths in natural order, what was left out
                              │ name_results
                              ▼
                           names, one for each clip

No clip is opened here; the folder of an edit says what it is (`describe_edit`). Needs nothing but
Python, so that `run.py` can use it without torch.
"""

from .edit_folder import ABOUT, describe_edit
from .listing import ENDINGS, Listing, list_clips, natural_order
from .result_names import name_results

__all__ = [
    "ABOUT",
    "ENDINGS",
    "Listing",
    "describe_edit",
    "list_clips",
    "name_results",
    "natural_order",
]
