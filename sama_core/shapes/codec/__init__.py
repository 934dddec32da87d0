"""The small VAE of the embedded model, in Wan 2.1's layout: model, linear start, training, export."""
