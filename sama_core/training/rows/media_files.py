"""Which endings of names mean images and videos."""

from pathlib import Path

IMAGE_FILES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}
SHEET = "rows_check.png"
"""What `check` draws beside the rows; no row of a folder."""
VIDEO_FILES = {".mp4", ".mov", ".webm", ".mkv", ".avi", ".gif", ".m4v"}


def is_image_file(path: Path) -> bool:
    """Whether a file's name is that of an image."""
    return path.suffix.lower() in IMAGE_FILES
