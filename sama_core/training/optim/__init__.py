"""Optimisers and the average of the weights."""
