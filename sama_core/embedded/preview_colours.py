"""The colours of SAMA-Shapes' latents, for ComfyUI's live preview.

RGB in -1..1 is the latent's channels times FACTORS plus BIAS, with normalised latents. Fitted by
`python -m sama_core.shapes.codec.colour_fit` to 256 clips; on 64 others the preview is 29.8 dB
from what the VAE decodes, shrunk to the latent's size. With Wan's own factors it is 6.2 dB.
"""

FACTORS = [
    [-0.6118, -0.4612, -0.4313],
    [-0.2409, -0.0415, 0.2191],
    [0.0542, -0.2119, 0.025],
    [-0.0058, 0.0046, 0.0097],
    [-0.003, 0.0015, -0.0019],
    [0.0009, 0.0016, 0.0028],
    [-0.0023, -0.0014, 0.0086],
    [0.0023, 0.0003, 0.0063],
    [-0.004, -0.0015, 0.0003],
    [-0.0035, -0.001, -0.0087],
    [-0.0093, -0.0002, -0.0104],
    [0.0049, -0.0027, 0.0119],
    [-0.0012, 0.0102, 0.0089],
    [-0.0012, 0.0013, 0.0089],
    [0.0018, -0.0008, -0.0086],
    [-0.0122, 0.0016, 0.0005],
]
BIAS = [-0.0385, -0.0298, -0.0663]
