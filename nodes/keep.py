"""Keeping: accepted edits as training data."""

from numbers import Real

import torch
from comfy_api.latest import io

from ..sama_core.comfyui.compare import pair, progress
from ..sama_core.comfyui.keep_pair import count_losses, keep_pair, why_not_a_collection
from ..sama_core.comfyui.media_values import plain
from .inputs import check_instruction, report_ui

CLIP_TYPES = [io.Video, io.Image]
NOT_ACCEPTED = "Not kept. Turn accept on and run again to keep this pair."


def _is_on(accept: object) -> bool:
    """Whether a switch is on that may be linked; what is no switch is refused in the run."""
    value = plain(accept)
    return isinstance(value, Real) and bool(value)


class KeepPair(io.ComfyNode):
    """Source, result and instruction → two files and a row of training data.

    accept off   nothing is run for this node, nothing is kept
    accept on    the pair is kept, once
    """

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SAMAKeepPair",
            display_name="SAMA Keep Pair",
            category="SAMA/train",
            description="Keeps an accepted edit as training data: source and result as files, and "
            "a row with the instruction in rows.jsonl, which SAMA's trainer reads. Any editor may "
            "have made the result.",
            search_aliases=["dataset", "training data", "save pair", "keep edit", "lora dataset"],
            is_output_node=True,
            inputs=[
                io.MultiType.Input(
                    "source",
                    CLIP_TYPES,
                    lazy=True,
                    tooltip="The clip before the edit, VIDEO or IMAGE.",
                ),
                io.MultiType.Input(
                    "result",
                    CLIP_TYPES,
                    lazy=True,
                    tooltip="The edited clip, VIDEO or IMAGE, in the shape of its source.",
                ),
                io.String.Input(
                    "instruction",
                    multiline=True,
                    default="",
                    placeholder="replace the seal with a crab",
                    tooltip="What was changed, in plain words: what the model learns to follow.",
                ),
                io.String.Input(
                    "collection",
                    default="pairs",
                    tooltip="The folder in output/sama_pairs that the pair is added to. Default "
                    "pairs.",
                ),
                io.Boolean.Input(
                    "accept",
                    default=False,
                    tooltip="Keep the pair. Off: look at the edit first; nothing is kept. Keep the "
                    "seed fixed, then turning it on runs this node alone. Default off.",
                ),
                io.Float.Input(
                    "fps",
                    default=0.0,
                    min=0.0,
                    max=1000.0,
                    step=0.01,
                    advanced=True,
                    optional=True,
                    tooltip="Frames per second of IMAGE frames; a video has its own. Default 0: "
                    "the rate of the other clip, or 24 where both are frames.",
                ),
            ],
            outputs=[
                io.String.Output(
                    display_name="report",
                    tooltip="Which pair of which rows.jsonl it is; the node shows it, too.",
                )
            ],
        )

    @classmethod
    def validate_inputs(cls, instruction=None, collection=None, accept=False) -> str | bool:
        if not _is_on(accept):
            return True
        said = check_instruction(instruction)
        return said if said is not True else why_not_a_collection(collection or "pairs") or True

    @classmethod
    def fingerprint_inputs(cls, **_inputs) -> int:
        """Runs again where a pair that was kept is gone."""
        return count_losses()

    @classmethod
    def check_lazy_status(cls, accept=False, **inputs) -> list[str]:
        """The clips are asked for where they are kept."""
        return [
            name for name in ("source", "result") if _is_on(accept) and inputs.get(name) is None
        ]

    @classmethod
    def execute(
        cls, instruction, collection, accept, source=None, result=None, fps=0.0
    ) -> io.NodeOutput:
        if not accept:
            return io.NodeOutput(NOT_ACCEPTED, ui=report_ui(NOT_ACCEPTED))
        images = all(torch.is_tensor(clip) and len(clip) == 1 for clip in (source, result))
        kept = keep_pair(pair(result, source, fps), instruction, collection, images, progress())
        return io.NodeOutput(kept.describe(), ui=report_ui(kept.describe()))
