"""Editing: the parts for a native graph, and the whole edit in one node."""

from comfy_api.latest import io

from ..sama_core.comfyui import conditioning
from ..sama_core.comfyui.anchors import start_edit
from ..sama_core.comfyui.distilled import own_sampling
from ..sama_core.comfyui.edit import EditSettings, edit_clip
from ..sama_core.comfyui.later_core import newer_fields
from ..sama_core.comfyui.saving import check_saving_of
from ..sama_core.comfyui.unknown_words import remark_on_words
from ..sama_core.model.schedule import DEFAULT_SHIFT, flow_sigmas
from ..sama_core.region import FittedClip
from ..sama_core.released_files import SAMA_14B
from .inputs import (
    SHIFT,
    STEPS,
    anchor_input,
    check_instruction,
    instruction_input,
    mask_input,
    model_inputs,
    remark_in,
    sampling_inputs,
    say_during_run,
    tag_input,
    tiling_input,
)

CATEGORY = "SAMA/edit"


class Instruction(io.ComfyNode):
    """Instruction → positive and negative CONDITIONING."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SAMAInstruction",
            display_name="SAMA Instruction",
            category=CATEGORY,
            description="Encodes an edit instruction the way SAMA was trained: cleaned, tagged, "
            "prompt weights off.",
            search_aliases=["prompt", "text encode", "edit instruction"],
            inputs=[
                io.Clip.Input(
                    "clip", tooltip="umT5, from Load SAMA Text Encoder or Load CLIP (type wan)."
                ),
                instruction_input(),
                tag_input(),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="The instruction."),
                io.Conditioning.Output(
                    display_name="negative", tooltip="The bare tag, for guidance."
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, instruction) -> str | bool:
        return check_instruction(instruction)

    @classmethod
    def execute(cls, clip, instruction, edit_tag) -> io.NodeOutput:
        remark_in(None)([remark_on_words(clip, instruction)])
        return io.NodeOutput(*conditioning.encode_instruction(clip, instruction, edit_tag))


class EditConditioning(io.ComfyNode):
    """Prompts + source frames → conditioning with the source inside, and the latent to sample."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SAMAEditConditioning",
            display_name="SAMA Edit Conditioning",
            category=CATEGORY,
            description="Encodes the source frames, attaches them to both prompts, and gives the "
            "latent to sample. For graphs with ComfyUI's own samplers.",
            search_aliases=["reference latent", "source conditioning", "vae encode"],
            inputs=[
                io.Conditioning.Input(
                    "positive", tooltip="The instruction, from SAMA Instruction."
                ),
                io.Conditioning.Input("negative", tooltip="The negative, from SAMA Instruction."),
                io.Vae.Input("vae", tooltip="The Wan 2.1 VAE."),
                io.Image.Input(
                    "frames",
                    tooltip="Fitted frames from SAMA Source Video: 4k+1 of them, sides "
                    "are multiples of 16.",
                ),
                tiling_input(),
                mask_input(),
                anchor_input(),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="To the sampler."),
                io.Conditioning.Output(display_name="negative", tooltip="To the sampler."),
                io.Latent.Output(
                    display_name="latent",
                    tooltip="To the sampler at denoise 1: empty, or with a mask the source, of "
                    "which the white part is edited; with an anchor, its first frame is kept.",
                ),
                io.Latent.Output(
                    display_name="source_latent", tooltip="The encoded source, for partial denoise."
                ),
            ],
        )

    @classmethod
    def execute(
        cls, positive, negative, vae, frames, tiling, mask=None, anchor=None
    ) -> io.NodeOutput:
        conditioning.require_wan_vae(vae)
        fitted = FittedClip.check(frames, mask, conditioning.lattice_of_vae(vae), anchor)
        source = conditioning.encode_source(vae, fitted, tiling)
        prompts = [conditioning.attach_source(prompt, source) for prompt in (positive, negative)]
        prompts, latent = start_edit(prompts, source, fitted, vae)
        return io.NodeOutput(*prompts, latent, {"samples": source})


class Sigmas(io.ComfyNode):
    """Steps and shift → SIGMAS."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SAMASigmas",
            display_name="SAMA Sigmas",
            category=CATEGORY,
            description="SAMA's own noise schedule, exact for every step count.",
            search_aliases=["scheduler", "shift", "noise schedule"],
            inputs=[
                io.Int.Input(
                    "steps",
                    **STEPS,
                    tooltip="Sampling steps; more follow the schedule more closely. Default 0: "
                    "those of the connected model, or without one SAMA-14B's "
                    f"{SAMA_14B.steps}.",
                ),
                io.Float.Input(
                    "shift",
                    **SHIFT,
                    tooltip="Schedule shift; higher spends more steps on the layout. "
                    f"Default {DEFAULT_SHIFT:g}, as SAMA was released.",
                ),
                io.Float.Input(
                    "denoise",
                    default=1.0,
                    min=0.01,
                    max=1.0,
                    step=0.01,
                    tooltip="Share of the schedule that is run, from its end. Default 1, a full "
                    "edit.",
                ),
                io.Model.Input(
                    "model",
                    optional=True,
                    tooltip="The model to sample; its own number of steps is taken where steps is "
                    "0.",
                ),
            ],
            outputs=[io.Sigmas.Output(tooltip="To SamplerCustom or SamplerCustomAdvanced.")],
        )

    @classmethod
    def execute(cls, steps, shift, denoise, model=None) -> io.NodeOutput:
        own = SAMA_14B.sampling if model is None else own_sampling(model)
        steps, _, taken = own.fill(steps, own.cfg)
        remark_in(None)([taken and f"SAMA: {taken}"])
        return io.NodeOutput(flow_sigmas(max(steps, int(steps / denoise)), shift)[-(steps + 1) :])


class Edit(io.ComfyNode):
    """Model, encoder, VAE, frames, instruction → edited frames."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SAMAEdit",
            display_name="SAMA Edit",
            category=CATEGORY,
            description="Edits a clip as the instruction says: encodes text and source, samples, "
            "decodes.",
            search_aliases=[
                "video edit",
                "edit video",
                "wan edit",
                "instruction edit",
                "replace",
                "remove object",
                "restyle",
                "inpaint video",
                "video to video",
                "sampler",
            ],
            **newer_fields(io.Schema, essentials_category="Video Tools"),
            inputs=[
                *model_inputs(),
                io.Image.Input(
                    "frames",
                    tooltip="Fitted frames from SAMA Source Video: 4k+1 of them, sides "
                    "are multiples of 16.",
                ),
                instruction_input(),
                *sampling_inputs(),
                tag_input(),
                tiling_input(),
                mask_input(),
                anchor_input(),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt],
            outputs=[
                io.Image.Output(
                    display_name="frames",
                    tooltip="The edited frames, as many as the input. Where a mask is black, they "
                    "are the input's pixels.",
                )
            ],
        )

    @classmethod
    def validate_inputs(cls, instruction) -> str | bool:
        return check_instruction(instruction)

    @classmethod
    def execute(
        cls,
        model,
        clip,
        vae,
        frames,
        instruction,
        seed,
        steps,
        cfg,
        shift,
        sampler_name,
        edit_tag,
        tiling,
        mask=None,
        anchor=None,
    ) -> io.NodeOutput:
        check_saving_of(cls.hidden.prompt, cls.hidden.unique_id)
        settings = EditSettings(
            instruction, seed, steps, cfg, shift, sampler_name, edit_tag, tiling
        )
        with say_during_run(cls.hidden.unique_id) as say:
            return io.NodeOutput(edit_clip(model, clip, vae, frames, settings, say, mask, anchor))
