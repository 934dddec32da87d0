"""The small VAE of the embedded model, in Wan 2.1's layout: linear start, training, export."""
