"""Which tokens matter: the saliency that weighs pairs (SARA) or positions (ours).

    named      masks of what the text names, from a tracker or from the scene
    changed    where source and target of an edit differ: exact, no other model (Deviation: ours)
    learned    what `SaliencyAligner` reads from the teacher's tokens and the text (SARA §3.3)

Shape legend: B batch · F frames · T slices · h, w cells · Nv = T·h·w visual tokens · L text tokens.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from ...errors import RuntimeSetupError, SamaError, needed
from ...geometry import WAN_21, Lattice

ORIGIN = "sama.saliency"
"""In the metadata of a saliency's file: what it was trained with, as JSON."""


def changed_cells(
    source: Tensor,
    target: Tensor,
    cells: tuple[int, int, int],
    threshold: float = 0.05,
    lattice: Lattice = WAN_21,
) -> Tensor:
    """Where an edit changed its source: frames (B, F, H, W, 3) in 0..1 twice → (B, T, h, w) in
    0..1.

    The share of a cell's pixels whose colour differs by more than `threshold`, `cells` = (T, h, w).
    Deviation: SARA takes saliency from text and masks; of an edit, what changed is known. Raises
    SamaError for clips of different shapes.
    """
    return reduce_mask(changed_pixels(source, target, threshold), cells, lattice)


def changed_pixels(source: Tensor, target: Tensor, threshold: float = 0.05) -> Tensor:
    """Frames (…, 3) in 0..1 twice → (…): 1 where the colours differ by more than `threshold`, else
    0. Raises SamaError for clips of different shapes.
    """
    if source.shape != target.shape:
        raise SamaError(
            needed(
                "source and target",
                f"shapes {tuple(source.shape)} and {tuple(target.shape)}",
                "the same",
                "Fit both to one size and length.",
            )
        )
    return ((source - target).abs().amax(-1) > threshold).float()


def reduce_mask(mask: Tensor, cells: tuple[int, int, int], lattice: Lattice = WAN_21) -> Tensor:
    """Masks (B, F, H, W) in 0..1 → (B, T, h, w): the mean of a cell. A first frame of its own stays
    one.

    Deviation: SARA's masks on cells are 0 or 1, by a threshold that it does not give. Shares keep
    what is smaller than a cell: a saliency that learns them is about as large as the part of a cell
    that the subject fills, and above 0.5 only where that is more than a half.

    With F = 4T − 3 frames slices are (0), (1..4), (5..8) … as Wan's VAE takes them, or by the
    factor of another `lattice`; with F = 2T − 1 (0), (1, 2) … as V-JEPA 2 does here; otherwise
    frames are spread evenly. Raises SamaError for other forms.
    """
    if mask.ndim != 4 or 0 in mask.shape:
        raise SamaError(
            needed("mask", f"shape {tuple(mask.shape)}", "(B, F, H, W)", "Give one for each frame.")
        )
    frames, slices = mask.shape[1], cells[0]
    if slices > 1 and frames in (lattice.frames_of(slices), 2 * slices - 1):
        first = functional.adaptive_avg_pool2d(mask[:, :1], cells[1:])
        rest = functional.adaptive_avg_pool3d(mask[:, None, 1:], (slices - 1, *cells[1:]))[:, 0]
        return torch.cat([first, rest], dim=1)
    return functional.adaptive_avg_pool3d(mask[:, None], cells)[:, 0]


class SaliencyAligner(nn.Module):
    """Cross-attention from the teacher's tokens to a text's, and a mask read from the result (SARA
    Tab. 10).

    Six blocks of attention with 8 heads and no positions: two that look at the text, four among the
    visual tokens. Unverified, since the paper has no word on it: the order (the two first),
    feed-forward layers of four times the width with GELU, LayerNorm before each part, the text
    brought to the visual width by one linear layer, and SiLU in the mask's two layers. Deviation:
    the text is read through all layers of the run's text encoder; the paper looks its tokens up in
    a language model's table of embeddings.
    """

    def __init__(
        self,
        width: int,
        text_width: int,
        heads: int = 8,
        blocks: tuple[int, int] = (2, 4),
        hidden: int = 512,
        out_width: int | None = None,
    ):
        """`width` of the teacher, `text_width` of the text's embeddings, `out_width` that of the
        text model the fused tokens are compared in (`text_width` where not given).
        """
        super().__init__()
        self.text_in = nn.Linear(text_width, width)
        self.cross = nn.ModuleList(_Block(width, heads) for _ in range(blocks[0]))
        self.among = nn.ModuleList(_Block(width, heads) for _ in range(blocks[1]))
        self.mask = nn.Sequential(nn.Linear(width, hidden), nn.SiLU(), nn.Linear(hidden, 1))
        self.project = nn.Sequential(nn.RMSNorm(width), nn.Linear(width, out_width or text_width))
        self.recompute = False
        """Whether activations of blocks are computed again in the backward pass, to save memory."""

    def forward(
        self, tokens: Tensor, text: Tensor, text_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Teacher tokens (B, Nv, width) and text (B, L, text_width), of which `text_mask` (B, L)
        bool tells the real ones → (fused tokens (B, Nv, width), saliency (B, Nv) in 0..1).
        """
        words = self.text_in(text)
        for block in self.cross:
            tokens = self._run(block, tokens, words, text_mask)
        for block in self.among:
            tokens = self._run(block, tokens, None, None)
        # Under autocast too a share near 0 or 1 needs all of its digits.
        return tokens, self.mask(tokens).squeeze(-1).float().sigmoid()

    def read_attention(
        self, tokens: Tensor, text: Tensor, text_mask: Tensor | None = None
    ) -> Iterator[Tensor]:
        """Of each block that looks at the text, how much each head gives each of its tokens (B,
        heads, Nv, L).
        """
        words = self.text_in(text)
        for block in self.cross:
            assert isinstance(block, _Block)
            yield block.weigh_words(tokens, words, text_mask)
            tokens = block(tokens, words, text_mask)

    def _run(self, block: nn.Module, *args: Tensor | None) -> Tensor:
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(block, *args, use_reentrant=False)
        return block(*args)


def load_saliency_aligner(path: Path) -> SaliencyAligner:
    """The aligner whose state dict was written to a safetensors file, frozen; sizes are read from
    it.

    Its number of heads stands in the file's metadata ("heads"), 8 if not. Raises RuntimeSetupError
    where there is none.
    """
    try:
        with safe_open(path, "pt") as file:
            heads = int((file.metadata() or {}).get("heads", 8))
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        blocks = [
            len({name.split(".")[1] for name in weights if name.startswith(part)})
            for part in ("cross.", "among.")
        ]
        width, text_width = weights["text_in.weight"].shape
        hidden, out = (len(weights[f"{part}.weight"]) for part in ("mask.0", "project.1"))
        aligner = SaliencyAligner(
            width, text_width, heads, (blocks[0], blocks[1]), hidden, out_width=out
        )
        aligner.load_state_dict(weights)
    except (OSError, SafetensorError, RuntimeError, ValueError, LookupError, AssertionError) as bad:
        raise _no_saliency(path, str(bad)) from bad
    return aligner.eval().requires_grad_(False)


def check_saliency_file(path: Path) -> None:
    """RuntimeSetupError for a file that holds no saliency, by the names in its header alone."""
    try:
        with safe_open(path, "pt") as file:
            absent = {"text_in.weight", "mask.0.weight", "project.1.weight"} - set(file.keys())
    except (OSError, SafetensorError) as bad:
        raise _no_saliency(path, str(bad)) from bad
    if absent:
        raise _no_saliency(path, f"it has no {min(absent)}")


def _no_saliency(path: Path, why: str) -> RuntimeSetupError:
    fix = "Train one with the task saliency, and set align.saliency_model to it."
    need = "the file of a saliency"
    return RuntimeSetupError(needed("align.saliency_model", f"{path} ({why})", need, fix))


def read_saliency_origin(path: Path) -> dict[str, Any]:
    """What a file says that its saliency was trained with ("teacher", "text_encoder" …); empty
    where it says nothing, or is no readable file.
    """
    try:
        with safe_open(path, "pt") as file:
            said = json.loads((file.metadata() or {}).get(ORIGIN, "{}"))
    except (OSError, SafetensorError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


class _Block(nn.Module):
    """Attention to the text, or among the tokens, and a feed-forward, each added to its input."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor, words: Tensor | None, real: Tensor | None) -> Tensor:
        queries = self.norm(x)
        keys = queries if words is None else words
        hidden = None if real is None else ~real
        x = x + self.attention(queries, keys, keys, key_padding_mask=hidden, need_weights=False)[0]
        return x + self.feed_forward(self.norm_2(x))

    def weigh_words(self, x: Tensor, words: Tensor, real: Tensor | None) -> Tensor:
        """How much each head of each token gives each word (B, heads, Nv, L)."""
        hidden = None if real is None else ~real
        return self.attention(
            self.norm(x), words, words, key_padding_mask=hidden, average_attn_weights=False
        )[1]


def mask_loss(saliency: Tensor, mask: Tensor) -> Tensor:
    """Binary cross-entropy of a saliency (B, Nv) with its mask in 0..1 → (B,) (SARA Eq. 5).

    Deviation: of shares, see `reduce_mask`, where the paper has masks of 0 and 1.
    """
    losses = functional.binary_cross_entropy(saliency, mask.to(saliency), reduction="none")
    return losses.mean(1)


def contrast_loss(
    visual: Tensor, text: Tensor, temperature: float = 0.07, alike: Tensor | None = None
) -> Tensor:
    """InfoNCE from visual to text (B, D), one entity or background each → (B,) (SARA Eq. 6).

    Every other row is a negative, those of the same clip too. Deviation: but for those that `alike`
    (B, B) bool says are the same text. Rows are normalised here. Unverified: whether the paper
    gathers rows over devices; here they are those given.
    """
    visual, text = functional.normalize(visual, dim=-1), functional.normalize(text, dim=-1)
    right = torch.arange(len(visual), device=visual.device)
    logits = visual @ text.T / temperature
    if alike is not None:
        others = alike & ~torch.eye(len(visual), dtype=torch.bool, device=alike.device)
        logits = logits.masked_fill(others, -torch.inf)
    return functional.cross_entropy(logits, right, reduction="none")


def saliency_losses(
    aligner: SaliencyAligner, read: tuple[Tensor, Tensor], text: Tensor, real: Tensor,
    masks: Tensor, alike: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """SARA's two losses (B,), cross-entropy and InfoNCE, which Eq. 7 adds.

    `read`: what the aligner gave, fused tokens (B, Nv, C) and saliency (B, Nv), for a `text` (B, L,
    D) with its `real` rows (B, L); `masks` (B, Nv) in 0..1 are what the text names. Deviation: the
    paper sends all tokens through a language model and takes its last state, of the text too; here
    tokens under the mask are averaged, and the text encoder's rows.
    """
    fused, saliency = read
    share = masks / masks.sum(1, keepdim=True).clamp(min=1e-6)
    visual = aligner.project((fused * share[..., None]).sum(1))
    meaning = (text * real[..., None]).sum(1) / real.sum(1, keepdim=True)
    return mask_loss(saliency, masks), contrast_loss(visual, meaning, alike=alike)
