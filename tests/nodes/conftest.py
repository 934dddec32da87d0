"""Node tests share the small models and graphs of the ComfyUI tests."""

from ..comfyui.conftest import edit, sampled, small  # noqa: F401
