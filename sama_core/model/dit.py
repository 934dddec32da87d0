"""The SAMA diffusion transformer: Wan 2.1's DiT over source, semantic and target tokens."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ConditioningError, needed
from ..geometry import LatentShape
from .attention import AttentionFn, sdpa
from .blocks import DitBlock, Head
from .config import DitConfig
from .once_per_run import once
from .rotary import UNSCALED, GridScale, RotaryTable, grid_table, sequence_table
from .semantic import SemanticHead, SemanticProjector
from .token_order import AS_IT_IS, BLOCK_SPARSE, TOKEN_ORDER, BlockOrder
from .tokens import SEMANTIC, SOURCE, TARGET, TokenLayout


def sinusoidal_embedding(timestep: Tensor, width: int) -> Tensor:
    """Cosine half, then sine half, of `timestep` (B,) → (B, width) float32."""
    exact = torch.float32 if timestep.device.type == "mps" else torch.float64
    half = width // 2
    rates = 10_000 ** (-torch.arange(half, device=timestep.device, dtype=exact) / half)
    angles = torch.outer(timestep.to(exact), rates)
    return torch.cat([angles.cos(), angles.sin()], dim=1).float()


class SamaDiT(nn.Module):
    """Jointly predicts the velocities (noise − clean) of a target video and its semantic tokens.

    Parameter and submodule names are Wan 2.1's, plus the 11 tensors of `segment_embedding`,
    `siglip_feat_mlp` and `semantic_head`. `operations` supplies the layers (torch.nn or ComfyUI's
    ops), `attention` the attention function. Source: SAMA §3.1–3.2 and its released code.
    """

    def __init__(
        self,
        config: DitConfig,
        operations: Any = nn,
        attention: AttentionFn = sdpa,
        head_operations: Any = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        head_dtype: torch.dtype | None = None,
    ):
        """Allocate the modules, without weights of use: load a state dict next.

        `head_operations` and `head_dtype` are for the modules that must not be quantised: patch
        and segment embedding, semantic projector and semantic head.
        """
        super().__init__()
        self.config, self.dtype, self.head_dtype = config, dtype, head_dtype
        self.lattice = config.lattice
        dim = config.dim
        factory: dict[str, Any] = {"device": device, "dtype": dtype}
        head_factory: dict[str, Any] = {"device": device, "dtype": head_dtype or dtype}
        head_ops = head_operations or operations

        self.patch_embedding = head_ops.Conv3d(
            config.in_dim, dim, kernel_size=config.patch, stride=config.patch, **head_factory
        )
        self.text_embedding = nn.Sequential(
            operations.Linear(config.text_dim, dim, **factory),
            nn.GELU(approximate="tanh"),
            operations.Linear(dim, dim, **factory),
        )
        self.time_embedding = nn.Sequential(
            operations.Linear(config.freq_dim, dim, **factory),
            nn.SiLU(),
            operations.Linear(dim, dim, **factory),
        )
        self.time_projection = nn.Sequential(nn.SiLU(), operations.Linear(dim, 6 * dim, **factory))
        self.blocks = nn.ModuleList(
            DitBlock(config, operations, attention, **factory) for _ in range(config.num_layers)
        )
        self.head = Head(config, math.prod(config.patch), operations, **factory)

        self.segment_embedding = head_ops.Embedding(3, dim, **head_factory)
        self.siglip_feat_mlp = SemanticProjector(config, head_ops, device, head_dtype, dtype)
        self.semantic_head = SemanticHead(config, head_ops, device, head_dtype, dtype)

    @classmethod
    def from_state_dict(
        cls, sd: Mapping[str, Tensor], num_heads: int | None = None, **kwargs: Any
    ) -> "SamaDiT":
        """Build a model of the sizes found in `sd` and load it strictly.

        Raises CheckpointError naming every missing, unexpected or misshapen tensor.
        """
        from ..weights.checkpoint import build_dit

        return build_dit(sd, num_heads, **kwargs)

    def forward(
        self,
        latents: Tensor,
        timestep: Tensor,
        context: Tensor,
        source_latents: Tensor | None = None,
        semantic_latents: Tensor | None = None,
        transformer_options: dict | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """One joint prediction.

        latents (B, C, T, H, W) noisy target · timestep (B,) or (1,) in 0…1000, used as given ·
        context (B, L, text_dim) · source_latents like latents, or None ·
        semantic_latents (B, S, E) noisy, or None
        → video velocity (B, C, T, H, W), semantic velocity (B, S, E) or None.
        """
        options = {} if transformer_options is None else transformer_options
        if source_latents is not None:
            _check_source(source_latents, latents)
        frames, height, width = latents.shape[2:]
        grid = LatentShape(frames, height, width, self.lattice).grid()
        layout = TokenLayout.of(
            math.prod(grid),
            source_latents is not None,
            0 if semantic_latents is None else semantic_latents.shape[1],
        )
        freqs = sequence_table(
            grid_table(grid, self.config.head_dim, latents.device, _grid_scale(options)),
            source_latents is not None,
            layout.semantic,
        )
        t = self.time_embedding(
            sinusoidal_embedding(timestep, self.config.freq_dim).to(latents.dtype)
        )
        e = self.time_projection(t).unflatten(1, (6, self.config.dim))
        text = once(
            options, "text", lambda: self.text_embedding(context), by=(self.text_embedding,)
        )
        # Not bound to a name: a reference would keep the first activations alive in all blocks.
        x = self.run_blocks(
            self.embed(latents, source_latents, semantic_latents, options),
            e,
            t,
            freqs,
            text,
            latents,
            grid,
            layout,
            options,
        )

        video = self.unpatchify(self.head(x[:, layout.target_slice], t), grid)
        semantic = (
            None if semantic_latents is None else self.semantic_head(x[:, layout.semantic_slice])
        )
        return video, semantic

    def embed(
        self,
        latents: Tensor,
        source_latents: Tensor | None,
        semantic_latents: Tensor | None,
        options: dict,
    ) -> Tensor:
        """Tokens (B, N, D): source, semantic, target, each plus the row of its segment.

        A source or semantic segment that is None is left out.
        """
        rows = self.segment_rows(latents.device).to(latents.dtype)
        segments = {TARGET: self.embed_video(latents)}
        if source_latents is not None:
            segments[SOURCE] = once(
                options,
                "source",
                lambda: self.embed_video(source_latents),
                by=(self.patch_embedding,),
            )
        if semantic_latents is not None:
            segments[SEMANTIC] = self.siglip_feat_mlp(semantic_latents)
        return torch.cat([segments[name] + rows[name] for name in sorted(segments)], dim=1)

    def segment_rows(self, device: torch.device) -> Tensor:
        """(3, D): what is added to the tokens of each segment."""
        return self.segment_embedding(torch.arange(3, device=device))

    def embed_video(self, latents: Tensor) -> Tensor:
        """(B, C, T, H, W) → tokens (B, n, D)."""
        patches = self.patch_embedding(
            latents.to(self.head_dtype or self.patch_embedding.weight.dtype)
        )
        return patches.to(latents.dtype).flatten(2).transpose(1, 2)

    def run_blocks(
        self,
        x: Tensor,
        e: Tensor,
        t: Tensor,
        freqs: RotaryTable,
        context: Tensor,
        latents: Tensor,
        grid: tuple[int, int, int],
        layout: TokenLayout,
        options: dict,
    ) -> Tensor:
        """All blocks on tokens `x` (B, N, D), with the patch points of Wan in ComfyUI.

        e (B, 6, D) and t (B, D) timestep embeddings · context (B, L, D) embedded text ·
        `latents` is only passed on to patches → (B, N, D).
        """
        options.update(
            grid_sizes=torch.Size(grid), total_blocks=len(self.blocks), block_type="double"
        )
        block = options.get(BLOCK_SPARSE)
        options[TOKEN_ORDER] = BlockOrder.of(layout, x.device, block) if block else AS_IT_IS
        replace = options.get("patches_replace", {}).get("dit", {})
        after_block = options.get("patches", {}).get("double_block", ())
        for index, block in enumerate(self.walk_blocks(x.device, options)):
            options["block_index"] = index
            if ("double_block", index) in replace:
                x = replace[("double_block", index)](
                    {
                        "img": x,
                        "txt": context,
                        "vec": e,
                        "pe": freqs,
                        "transformer_options": options,
                    },
                    {"original_block": _original(block)},
                )["img"]
            else:
                x = block(x, e=e, freqs=freqs, context=context, transformer_options=options)
            for patch in after_block:
                x = patch(
                    {
                        "img": x,
                        "x": latents,
                        "vec": t,
                        "block_index": index,
                        "img_offset": layout.target_slice.start,
                        "transformer_options": options,
                    }
                )["img"]
        return x

    def walk_blocks(self, device: torch.device, options: dict) -> Iterable[nn.Module]:
        """The blocks in their order; a subclass may have their weights fetched ahead."""
        return self.blocks

    def unpatchify(self, x: Tensor, grid: tuple[int, int, int]) -> Tensor:
        """(B, n, patch volume · C) with n = prod(grid) → (B, C, T, H, W)."""
        x = x.unflatten(1, grid).unflatten(-1, (*self.config.patch, self.config.out_dim))
        return x.permute(0, 7, 1, 4, 2, 5, 3, 6).flatten(6, 7).flatten(4, 5).flatten(2, 3)


def _original(block: nn.Module) -> Callable[[dict], dict]:
    """`block` in the form that `patches_replace` functions call it: one dict in, one dict out."""

    def run(args: dict) -> dict:
        return {
            "img": block(
                args["img"],
                e=args["vec"],
                freqs=args["pe"],
                context=args["txt"],
                transformer_options=args["transformer_options"],
            )
        }

    return run


def _grid_scale(options: dict) -> GridScale:
    """ComfyUI's RoPE options, given per axis as t, y, x."""
    rope = options.get("rope_options")
    if not rope:
        return UNSCALED
    scale_t, scale_y, scale_x = (rope.get(f"scale_{axis}", 1.0) for axis in "tyx")
    shift_t, shift_y, shift_x = (rope.get(f"shift_{axis}", 0.0) for axis in "tyx")
    return GridScale(scale=(scale_t, scale_y, scale_x), shift=(shift_t, shift_y, shift_x))


def _check_source(source: Tensor, target: Tensor) -> None:
    if source.shape != target.shape:
        raise ConditioningError(
            needed(
                "source latent",
                _size(source),
                f"the target's {_size(target)}",
                "Encode the source with SAMA Edit Conditioning and sample the latent it returns.",
            )
        )


def _size(latent: Tensor) -> str:
    batch, channels, frames, height, width = latent.shape
    return f"{frames} latent frames of {width}x{height}, {channels} channels, batch {batch}"
