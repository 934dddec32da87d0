"""The VAE and the text encoder of Wan 2.1, which SAMA uses: layouts and torch models."""
