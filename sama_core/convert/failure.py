"""Why a conversion cannot be done."""

from ..errors import SamaError


class ConversionError(SamaError):
    """A format, a target or a disk that a conversion cannot use; sources raise CheckpointError."""
