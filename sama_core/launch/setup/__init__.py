"""Provides what the pack needs, from a bare Python on: packages, ComfyUI, model files."""
