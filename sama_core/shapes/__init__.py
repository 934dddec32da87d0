"""SAMA-Shapes: a small SAMA and the procedural world it edits. All here is for that model alone."""
