"""The VAE and the text encoder that SAMA takes from Wan 2.1: their layouts, and torch models of them for training."""
