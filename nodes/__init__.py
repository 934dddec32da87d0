"""SAMA's nodes: thin V3 adaptors over `sama_core.comfyui`, a file per family."""

import importlib

from comfy_api.latest import ComfyExtension, io

from ..sama_core.comfyui.later_core import Loading, greet, load_families

FAMILIES = {
    "load": ["LoadModel", "PrepareModel", "LoadTextEncoder", "LoadVAE", "LoadLora"],
    "video": ["SourceVideo"],
    "folder": ["ClipFolder"],
    "edit": ["Instruction", "EditConditioning", "Sigmas", "Edit"],
    "long": ["LongEdit", "SegmentStore"],
    "whole": ["EditWholeVideo", "VideoShare"],
    "anchors": ["AnchorPreview"],
    "drafts": ["Drafts"],
    "latents": ["SplitLatent", "JoinLatent"],
    "region": ["RegionMask", "PasteBack", "ChangedMask"],
    "scores": ["Scores"],
    "export": ["FinishVideo"],
    "compare": ["Compare"],
    "keep": ["KeepPair"],
    "convert": ["ConvertWeights"],
    "plan": ["Plan"],
    "train": ["TrainingPair", "TeacherFeatures", "AlignmentLoss"],
}
"""File → its node classes. A node's id is `SAMA` and its class name."""


class SamaExtension(ComfyExtension):
    """What works on this ComfyUI.

    A part that does not work is left out; the line that is logged at start names it.
    """

    def __init__(self):
        self.loading = Loading()

    async def on_load(self) -> None:
        """Register what is not a node."""
        for part, module, function in (
            ("recognising SAMA files", "register", "register"),
            ("the models that ship with the pack", "register", "offer_embedded"),
            ("the folder of teachers", "teacher_features", "register_folder"),
            ("telling programs the pack's version", "about_pack", "offer_facts"),
        ):
            self.loading.try_part(
                part, lambda module=module, function=function: _core_part(module, function)
            )

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """The nodes that load here, with checks of their inputs; logs the line of the start."""
        nodes = load_families(__name__, FAMILIES, self.loading)
        self.loading.try_part("checks of values that come over links", lambda: _limit(nodes))
        self.loading.try_part(
            "taking the place of other copies",
            lambda: _core_part("copies", "settle_when_loaded", nodes),
        )
        greet(self.loading)
        return nodes


def _limit(nodes: list[type[io.ComfyNode]]) -> None:
    """Make every node check its inputs against its own schema."""
    limits = importlib.import_module(f"{__name__}.limits")
    for node in nodes:
        limits.obey_limits(node)


def _core_part(module: str, function: str, *given: object) -> None:
    """Call a function of `sama_core.comfyui`, which is imported only now."""
    package = __name__.rpartition(".")[0]
    getattr(importlib.import_module(f"{package}.sama_core.comfyui.{module}"), function)(*given)


async def comfy_entrypoint() -> SamaExtension:
    """What ComfyUI calls to load the pack's nodes."""
    return SamaExtension()
