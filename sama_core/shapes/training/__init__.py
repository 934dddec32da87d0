"""How SAMA-Shapes is trained: samples, batches, and what is asked beside SAMA's objective."""
