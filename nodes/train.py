"""Training a LoRA in the canvas, with ComfyUI's own Train LoRA."""

import comfy.utils
from comfy_api.latest import io

from ..sama_core.comfyui import teacher_features
from ..sama_core.comfyui.alignment_loss import METHODS, align
from ..sama_core.comfyui.model import area_of_model, lattice_of_model
from ..sama_core.comfyui.training_pairs import make_samples, read_pair, remark_on_sameness
from ..sama_core.comfyui.unknown_words import remark_on_words
from ..sama_core.errors import InputError, needed
from ..sama_core.geometry import DEFAULT_AREA
from .inputs import check_instruction, instruction_input, model_inputs, remark_in, say_during_run

CATEGORY = "SAMA/train"
FeaturesType = io.Custom("ALIGN_FEATURES")
"""The socket of `teacher_features.AlignFeatures`."""


class TrainingPair(io.ComfyNode):
    """A clip before and after an edit → latents and conditioning for Train LoRA."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SAMATrainingPair",
            display_name="SAMA Training Pair",
            category=CATEGORY,
            description="Makes samples for ComfyUI's Train LoRA from a clip before and after an "
            "edit. A long pair is cut into several samples.",
            search_aliases=["train lora", "dataset", "training data", "fine-tune"],
            inputs=[
                *model_inputs(),
                io.MultiType.Input(
                    "source",
                    types=[io.Video, io.Image],
                    tooltip="The clip before the edit: from Load Video, or an IMAGE batch.",
                ),
                io.MultiType.Input(
                    "target",
                    types=[io.Video, io.Image],
                    tooltip="The same clip after the edit, frame by frame: what SAMA is to make "
                    "of the source.",
                ),
                instruction_input(),
                io.Int.Input(
                    "frames",
                    default=17,
                    min=0,
                    max=1001,
                    tooltip="Frames of a sample: 4k+1. A longer pair gives several samples, one "
                    "after the other; what is left at its end is not used. 0 takes all frames as "
                    "one sample. More frames need more memory. Default 17.",
                ),
                io.Int.Input(
                    "area",
                    default=0,
                    min=0,
                    max=4096 * 4096,
                    advanced=True,
                    tooltip="Working area in pixels (width x height). 0 uses the area that the "
                    f"model was made for, or 832x480 = {DEFAULT_AREA}. Fewer pixels need less "
                    "memory and time.",
                ),
                io.ClipVision.Input(
                    "clip_vision",
                    optional=True,
                    tooltip="SigLIP so400m, from Load CLIP Vision, for the semantic tokens of "
                    "SAMA-14B. SAMA-Shapes needs none.",
                ),
            ],
            outputs=[
                io.Latent.Output(
                    display_name="latents",
                    is_output_list=True,
                    tooltip="To latents of Train LoRA: target video and semantic tokens of each "
                    "sample, for training alone.",
                ),
                io.Conditioning.Output(
                    display_name="positive",
                    is_output_list=True,
                    tooltip="To positive of Train LoRA: the instruction, with each sample's "
                    "source.",
                ),
                io.Image.Output(
                    display_name="target_frames",
                    is_output_list=True,
                    tooltip="The target's frames of each sample, for SAMA Teacher Features.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, instruction) -> str | bool:
        return check_instruction(instruction)

    @classmethod
    def execute(
        cls, model, clip, vae, source, target, instruction, frames, area, clip_vision=None
    ) -> io.NodeOutput:
        area = area or area_of_model(model)
        before, after = read_pair(source, target, area, lattice_of_model(model))
        same = remark_on_sameness(before, after)
        remark_in(None)([same, remark_on_words(clip, instruction)])
        bar = comfy.utils.ProgressBar(1)
        samples = make_samples(
            model, clip, vae, before, after, instruction, frames, clip_vision, bar.update_absolute
        )
        return io.NodeOutput(
            [sample.latent for sample in samples],
            [sample.positive for sample in samples],
            [sample.target for sample in samples],
        )


class TeacherFeatures(io.ComfyNode):
    """A clip → what a frozen teacher says of it, for SAMA Alignment Loss."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SAMATeacherFeatures",
            display_name="SAMA Teacher Features",
            category=CATEGORY,
            description="Features of a clip by a frozen vision model, which a training can be "
            "held to. They are kept on disk, and made once.",
            search_aliases=["repa", "vjepa", "dino", "sam 2", "alignment"],
            inputs=[
                io.Image.Input(
                    "frames",
                    tooltip="The target's frames of a sample: target_frames of SAMA Training Pair.",
                ),
                io.Combo.Input(
                    "teacher",
                    options=teacher_features.list_teachers(),
                    default=teacher_features.PIXELS,
                    tooltip="The vision model: a folder in models/sama_teachers with V-JEPA 2, "
                    "VideoMAE, DINOv3, SigLIP 2 or SAM 2, as Hugging Face has them. Default "
                    "pixels: statistics of the picture, which need no file.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="The subject, white. SAM 2 follows it, and methods that weigh a "
                    "subject need it.",
                ),
            ],
            outputs=[FeaturesType.Output(tooltip="To SAMA Alignment Loss.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def fingerprint_inputs(cls, frames=None, teacher=None, mask=None) -> list:
        return teacher_features.list_stamps(teacher)

    @classmethod
    def execute(cls, frames, teacher, mask=None) -> io.NodeOutput:
        with say_during_run(cls.hidden.unique_id) as say:
            made = teacher_features.make_features(frames, teacher, mask, say)
        return io.NodeOutput(made)


class AlignmentLoss(io.ComfyNode):
    """A model that is held to a teacher while Train LoRA trains it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SAMAAlignmentLoss",
            display_name="SAMA Alignment Loss",
            category=CATEGORY,
            description="Adds the loss of an alignment to a training: hidden states of a block "
            "are held to a frozen teacher's features. An edit with the model is not changed.",
            search_aliases=["repa", "sara", "sam2videox", "teacher", "regularisation"],
            is_input_list=True,
            inputs=[
                io.Model.Input("model", tooltip="From Load SAMA Model."),
                FeaturesType.Input(
                    "features", tooltip="Of every sample, from SAMA Teacher Features."
                ),
                io.Combo.Input(
                    "method",
                    options=list(METHODS),
                    default="trd",
                    tooltip="What is compared. trd: differences between all pairs of places. repa: "
                    "each place with the teacher's. sam2videox: motion between frames. The help "
                    "page has all of them. Default trd.",
                ),
                io.Float.Input(
                    "weight",
                    default=0.5,
                    min=0.0001,
                    max=100.0,
                    step=0.01,
                    tooltip="Weight beside Train LoRA's own loss. Default 0.5, as in the papers.",
                ),
                io.Int.Input(
                    "block",
                    default=0,
                    min=0,
                    max=1000,
                    advanced=True,
                    tooltip="The block whose hidden states are compared, counted from 1. Default "
                    "0, the method's own: 0.45 of the blocks, 0.6 for motion.",
                ),
                io.Float.Input(
                    "projector_rate",
                    default=5e-4,
                    min=0.0001,
                    max=1.0,
                    step=0.0001,
                    advanced=True,
                    tooltip="Learning rate of the projector to the teacher's features, which "
                    "learns along and is left behind. Default 0.0005.",
                ),
            ],
            outputs=[io.Model.Output(tooltip="To model of Train LoRA.")],
        )

    @classmethod
    def execute(cls, model, features, method, weight, block, projector_rate) -> io.NodeOutput:
        given = {
            "model": model, "method": method, "weight": weight, "block": block,
            "projector_rate": projector_rate,
        }  # fmt: skip
        one, *settings = (_take_one(name, values) for name, values in given.items())
        return io.NodeOutput(align(one, features, *settings))


def _take_one(name: str, values: list) -> object:
    """What an input holds, of a node that gets all as lists. Raises InputError for several."""
    if len(values) > 1:
        fix = "Connect one alone; for several, queue the workflow once for each."
        raise InputError(needed(name, f"a list of {len(values)}", "one", fix))
    return values[0]
