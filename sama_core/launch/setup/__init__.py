"""From a bare Python to everything the pack needs: packages, ComfyUI, model files."""
