"""What a plan has to know of the card and the computer."""

from dataclasses import dataclass

GIB = 1 << 30
MIB = 1 << 20

NVIDIA, OTHER_GPU, MPS, CPU = "nvidia", "other GPU", "MPS", "CPU"


@dataclass(frozen=True)
class Machine:
    """One card in one computer, at one moment. Bytes throughout."""

    kind: str = NVIDIA
    """NVIDIA, OTHER_GPU, MPS or CPU."""
    card: str | None = None
    """The device's name as torch gives it."""
    free_vram: int = 0
    """What core can use: free for the driver, held by torch without use, or taken by weights that core would remove."""
    total_vram: int = 0
    free_ram: int | None = None
    """None where it is unknown."""
    total_ram: int | None = None
    reserved: int = 400 * MIB
    """What core leaves to other programs (`--reserve-vram`); 600 MiB on Windows, 700 with more than 15 GiB."""
    vram_mode: str = "normal"
    """normal, low, no or high, as core's command line sets it."""
    dynamic: bool = True
    """Core's dynamic VRAM: weights move while the model runs."""
    streams: int = 2
    """Layers that are on their way to the card at once (`--async-offload`)."""
    program: int = 2 * GIB
    """RAM that ComfyUI takes for itself; 0 where it runs already. Unverified: 1 to 2 GiB were seen on a CPU machine."""
    assumed_vram: bool = False
    """Whether the card's memory was given by the user rather than read."""
    assumed_ram: bool = False
    """The same of the computer's memory."""

    @property
    def has_card(self) -> bool:
        """Whether the memory for the work is another than the computer's."""
        return self.kind in (NVIDIA, OTHER_GPU)

    @property
    def compute_size(self) -> int:
        """Bytes of a number in the dtype that core computes SAMA in: bfloat16 on cards, float32 on a CPU."""
        return 4 if self.kind == CPU else 2


def windows_reserve(total_vram: int) -> int:
    """What core leaves free on Windows."""
    return (700 if total_vram > 15 * GIB else 600) * MIB
