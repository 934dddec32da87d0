"""SAMA-Shapes: a small SAMA and the toy world it edits. Everything here is for that model alone."""
