"""Measurements of SAMA-Shapes, the model inside the pack: `python -m benchmarks.shapes.NAME`."""
