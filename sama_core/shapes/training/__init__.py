"""How SAMA-Shapes is trained: its samples, its batches, and what it is asked beside SAMA's own objective."""
