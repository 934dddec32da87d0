"""SAMA's nodes: thin V3 adaptors over `sama_core.comfyui`, a file per family."""

from comfy_api.latest import ComfyExtension, io

from ..sama_core.comfyui import embedded_files
from ..sama_core.comfyui.register import register
from .anchors import AnchorPreview
from .convert import ConvertWeights
from .edit import Edit, EditConditioning, Instruction, Sigmas
from .export import FinishVideo
from .latents import JoinLatent, SplitLatent
from .load import LoadLora, LoadModel, LoadTextEncoder, LoadVAE, PrepareModel
from .long import LongEdit, SegmentStore
from .plan import Plan
from .region import ChangedMask, PasteBack, RegionMask
from .scores import Scores
from .video import SourceVideo

NODES = [LoadModel, PrepareModel, LoadTextEncoder, LoadVAE, LoadLora, SourceVideo, Instruction, EditConditioning,
         Sigmas, Edit, LongEdit, SegmentStore, AnchorPreview, SplitLatent, JoinLatent, RegionMask, PasteBack,
         ChangedMask, Scores, FinishVideo, ConvertWeights, Plan]


class SamaExtension(ComfyExtension):
    async def on_load(self) -> None:
        register()
        embedded_files.offer()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return NODES


async def comfy_entrypoint() -> SamaExtension:
    return SamaExtension()
