"""The DiT as ComfyUI calls it: one packed state in, one out."""

from collections.abc import Iterable, Iterator

import comfy.model_prefetch
import comfy.patcher_extension
import torch
from comfy.weight_adapter.bypass import BypassForwardHook
from torch import Tensor

from ..errors import RuntimeSetupError, needed
from ..model.dit import SamaDiT
from .later_core import log_ignored
from .streams import JointShape, is_packed

PAIR = "sama_pair"
"""Key of conditioning and of transformer options: the name of a training's sample, see
`alignment_loss`."""
PREFETCH = "sama_block_prefetch"
"""Key of transformer options: true has ComfyUI fetch a block's streamed weights in one go. Off
unless asked for: Unverified that it saves time, which `python -m benchmarks.gpu` measures."""


class PackedSamaDiT(SamaDiT):
    """SamaDiT under ComfyUI's calling convention: one packed tensor in, one out.

    It deliberately has no `forward_orig`: packs that replace Wan's would silently drop the source
    and semantic tokens.
    """

    def forward(
        self,
        x: Tensor,
        timestep: Tensor,
        context: Tensor | None = None,
        control=None,
        transformer_options: dict = {},
        **kwargs,
    ) -> Tensor:
        """`x` (B, 1, N) → velocities (B, 1, N) of both streams.

        Runs ComfyUI's DIFFUSION_MODEL wrappers. They get a copy: EasyCache writes into its input,
        which in float32 is the sampler's own state.
        """
        return comfy.patcher_extension.WrapperExecutor.new_class_executor(
            self._forward_packed,
            self,
            comfy.patcher_extension.get_all_wrappers(
                comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, transformer_options
            ),
        ).execute(x.clone(), timestep, context, transformer_options, **kwargs)

    def _forward_packed(
        self,
        x: Tensor,
        timestep: Tensor,
        context: Tensor,
        transformer_options: dict,
        sama_shapes: tuple | None = None,
        source_latents: Tensor | None = None,
        sama_pair: tuple[str, ...] | None = None,
        **unknown,
    ) -> Tensor:
        if unknown and not torch.compiler.is_compiling():
            log_ignored("the model", unknown)
        if sama_shapes is None or not is_packed(x):
            raise RuntimeSetupError(
                needed(
                    "SAMA model",
                    "a latent without its semantic tokens",
                    "the joint state",
                    "Put Prepare SAMA Model right after the loader, or load with Load SAMA Model.",
                )
            )
        if sama_pair is not None:
            transformer_options[PAIR] = sama_pair
        shape = JointShape(*sama_shapes)
        latents, semantic_latents = shape.unpack(x)
        return shape.pack(
            *super().forward(
                latents, timestep, context, source_latents, semantic_latents, transformer_options
            )
        )

    def walk_blocks(self, device: torch.device, options: dict) -> Iterable[torch.nn.Module]:
        """The blocks, with ComfyUI's prefetch where `PREFETCH` asks for it and weights stream."""
        if not options.get(PREFETCH):
            return self.blocks
        queue = comfy.model_prefetch.make_prefetch_queue(list(self.blocks), device, options)
        return self.blocks if queue is None else self._fetch_ahead(queue, device)

    def _fetch_ahead(self, queue: list, device: torch.device) -> Iterator[torch.nn.Module]:
        for block in self.blocks:
            comfy.model_prefetch.prefetch_queue_pop(queue, device, block)
            yield block
        comfy.model_prefetch.prefetch_queue_pop(queue, device, None)

    def segment_rows(self, device: torch.device) -> Tensor:
        """(3, D), with a bypass LoRA's part too.

        ComfyUI's bypass takes every layer for a matrix that multiplies its input, which an
        embedding does not. The adapter of the identity is its change of the whole table.
        """
        hook = getattr(self.segment_embedding.forward, "__self__", None)
        if not isinstance(hook, BypassForwardHook):
            return super().segment_rows(device)
        columns = hook.original_forward(torch.arange(3, device=device)).T
        identity = torch.eye(len(columns), device=device, dtype=columns.dtype)
        return hook.adapter.g(columns + hook.adapter.h(identity, columns)).T
