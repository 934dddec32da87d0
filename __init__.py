"""ComfyUI-SAMA: edit videos by instruction. ComfyUI loads this package; see README.md."""

if __package__:
    from .nodes import comfy_entrypoint

    WEB_DIRECTORY = "./web"
    __all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]
