"""A semantic teacher without weights, for the embedded model: standardised colour and shape statistics."""

from torch import Tensor

from ...errors import SamaError, needed
from .calibration import calibration_frames
from .cell_statistics import STATISTICS, cell_statistics
from .encoder import GRID, SemanticEncoder

WIDTH = 48
_SMALLEST_SCALE = 1e-4


class PixelEncoder(SemanticEncoder):
    """Local tokens: statistics of the 8 x 8 cells. Global token: the same of the whole frame as one cell.

    Deterministic: no learnt weights and no random features. Each channel is shifted and scaled to mean 0 and variance 1
    over `calibration_frames`, apart for local and global tokens; on other pictures roughly so.
    """

    def __init__(self, width: int = WIDTH, frames: Tensor | None = None):
        """`width` E: the coarsest 1 to 64 statistics; multiples of 4 treat all planes alike.
        `frames` (n, H, W, 3) in 0..1 calibrates on other pictures, at least 2. Raises SamaError for another width.
        """
        super().__init__()
        if not 1 <= width <= STATISTICS:
            raise SamaError(needed("width of the pixel encoder", width, f"1 to {STATISTICS}",
                                   f"Use {WIDTH}, or SigLIP for wider tokens."))
        self.width = width
        frames = calibration_frames() if frames is None else frames.float()
        for name, raw in zip(("local", "global"), self._statistics(frames), strict=True):
            seen = raw.flatten(0, -2)
            self.register_buffer(f"{name}_mean", seen.mean(0))
            self.register_buffer(f"{name}_scale", seen.std(0).clamp_min(_SMALLEST_SCALE))

    def tokens(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        """Frames (B, H, W, 3) in 0..1, on the encoder's device → (B, 64, E), (B, E)."""
        local, whole = self._statistics(frame)
        return (local - self.local_mean) / self.local_scale, (whole - self.global_mean) / self.global_scale

    def _statistics(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        return cell_statistics(frame, GRID)[..., :self.width], cell_statistics(frame, 1)[:, 0, :self.width]
