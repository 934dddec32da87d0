"""The SAMA diffusion transformer. Torch only."""
