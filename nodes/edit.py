"""Editing: the parts for a native graph, and the whole edit in one node."""

import comfy.samplers
from comfy_api.latest import io

from ..sama_core import embedded
from ..sama_core.comfyui import conditioning
from ..sama_core.comfyui.edit import EditSettings, edit_clip
from ..sama_core.comfyui.later_core import newer_fields
from ..sama_core.comfyui.saving import check_saving_of
from ..sama_core.model.schedule import DEFAULT_CFG, DEFAULT_SHIFT, DEFAULT_STEPS, flow_sigmas
from ..sama_core.region import fit_mask, require_region
from ..sama_core.text import clean_instruction
from .inputs import say_in

CATEGORY = "SAMA/edit"
_STEPS = {"default": DEFAULT_STEPS, "min": 1, "max": 1000}
_SHIFT = {"default": DEFAULT_SHIFT, "min": 0.01, "max": 100.0, "step": 0.01}
_EMPTY = 'The instruction is empty. Say what to change, for example "replace the seal with a crab".'


def instruction_input() -> io.String.Input:
    return io.String.Input(
        "instruction",
        multiline=True,
        default="",
        placeholder="replace the seal with a crab",
        tooltip="What to change, in plain words. Parentheses are ordinary text here; up to 511 "
        "tokens are read.",
    )


def model_inputs() -> list:
    """The three parts of the model, for the nodes that do a whole edit."""
    return [
        io.Model.Input("model", tooltip="From Load SAMA Model."),
        io.Clip.Input("clip", tooltip="umT5, from Load SAMA Text Encoder."),
        io.Vae.Input("vae", tooltip="The Wan 2.1 VAE."),
    ]


def tag_input() -> io.Boolean.Input:
    return io.Boolean.Input(
        "edit_tag",
        default=True,
        advanced=True,
        tooltip="Put [Video edit] before the instruction, as SAMA was trained. Default on.",
    )


def tiling_input() -> io.Combo.Input:
    return io.Combo.Input(
        "tiling",
        options=list(conditioning.TILINGS),
        default=conditioning.TILINGS[0],
        advanced=True,
        tooltip="How the VAE works through the frames. Automatic: whole frames, tiles only when "
        "memory runs out. Reference tiles: the release's 416x240 tiles, always.",
    )


def sampling_inputs() -> list:
    """The sampling settings that SAMA Edit and SAMA Anchor Preview share."""
    return [
        io.Int.Input(
            "seed",
            default=1,
            min=0,
            max=0xFFFFFFFFFFFFFFFF,
            control_after_generate=True,
            tooltip="Seed of video and semantic noise. The same seed gives the same edit.",
        ),
        io.Int.Input(
            "steps",
            **_STEPS,
            tooltip="Sampling steps. Default 50; 4 to 8 with a step-distilled LoRA; "
            f"{embedded.STEPS} with the small model inside the pack.",
        ),
        io.Float.Input(
            "cfg",
            default=DEFAULT_CFG,
            min=0.0,
            max=100.0,
            step=0.1,
            tooltip="How strictly the instruction is followed. Default 5; 1 with a step-distilled LoRA: "
            f"then each step runs the model once, not twice. {embedded.CFG:g} with the small model "
            "inside the pack.",
        ),
        io.Float.Input(
            "shift",
            **_SHIFT,
            advanced=True,
            tooltip="Shift of the noise schedule; higher spends more steps on the layout. Default 5.",
        ),
        io.Combo.Input(
            "sampler_name",
            options=comfy.samplers.KSampler.SAMPLERS,
            default="euler",
            advanced=True,
            tooltip="Sampling method. Default euler, as SAMA was released.",
        ),
    ]


def mask_input() -> io.Mask.Input:
    return io.Mask.Input(
        "mask",
        optional=True,
        tooltip="The region that may change, white, from SAMA Region Mask or any node. Left open, "
        "the whole picture may.",
    )


class Instruction(io.ComfyNode):
    """Instruction → positive and negative CONDITIONING."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SAMAInstruction",
            display_name="SAMA Instruction",
            category=CATEGORY,
            description="Encodes an edit instruction the way SAMA was trained: cleaned, tagged, prompt weights off.",
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
        return instruction is None or bool(clean_instruction(instruction)) or _EMPTY

    @classmethod
    def execute(cls, clip, instruction, edit_tag) -> io.NodeOutput:
        return io.NodeOutput(*conditioning.encode_instruction(clip, instruction, edit_tag))


class EditConditioning(io.ComfyNode):
    """Prompts + source frames → conditioning with the source inside, and the latent to sample."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SAMAEditConditioning",
            display_name="SAMA Edit Conditioning",
            category=CATEGORY,
            description="Encodes the source frames, attaches them to both prompts, and gives the latent to sample. "
            "For graphs with ComfyUI's own samplers.",
            search_aliases=["reference latent", "source conditioning", "vae encode"],
            inputs=[
                io.Conditioning.Input(
                    "positive", tooltip="The instruction, from SAMA Instruction."
                ),
                io.Conditioning.Input("negative", tooltip="The negative, from SAMA Instruction."),
                io.Vae.Input("vae", tooltip="The Wan 2.1 VAE."),
                io.Image.Input(
                    "frames", tooltip="Fitted frames from SAMA Source Video: 4k+1, sides ÷16."
                ),
                tiling_input(),
                mask_input(),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="To the sampler."),
                io.Conditioning.Output(display_name="negative", tooltip="To the sampler."),
                io.Latent.Output(
                    display_name="latent",
                    tooltip="To the sampler at denoise 1: empty, or with a mask the source, of which "
                    "the white part is edited.",
                ),
                io.Latent.Output(
                    display_name="source_latent", tooltip="The encoded source, for partial denoise."
                ),
            ],
        )

    @classmethod
    def execute(cls, positive, negative, vae, frames, tiling, mask=None) -> io.NodeOutput:
        if mask is not None:
            mask = require_region(fit_mask(mask, *frames.shape[:3]))
        source = conditioning.encode_source(vae, frames, tiling)
        latent = (
            conditioning.empty_latent(source)
            if mask is None
            else conditioning.masked_latent(source, mask)
        )
        attached = (conditioning.attach_source(prompt, source) for prompt in (positive, negative))
        return io.NodeOutput(*attached, latent, {"samples": source})


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
                    **_STEPS,
                    tooltip="Sampling steps; more follow the schedule more closely. Default 50.",
                ),
                io.Float.Input(
                    "shift",
                    **_SHIFT,
                    tooltip="Schedule shift; higher spends more steps on the layout. "
                    "Default 5, as SAMA was released.",
                ),
                io.Float.Input(
                    "denoise",
                    default=1.0,
                    min=0.01,
                    max=1.0,
                    step=0.01,
                    tooltip="Share of the schedule that is run, from its end. Default 1, a full edit.",
                ),
            ],
            outputs=[io.Sigmas.Output(tooltip="To SamplerCustom or SamplerCustomAdvanced.")],
        )

    @classmethod
    def execute(cls, steps, shift, denoise) -> io.NodeOutput:
        return io.NodeOutput(flow_sigmas(max(steps, int(steps / denoise)), shift)[-(steps + 1) :])


class Edit(io.ComfyNode):
    """Model, encoder, VAE, frames, instruction → edited frames."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SAMAEdit",
            display_name="SAMA Edit",
            category=CATEGORY,
            description="Edits a clip as the instruction says: encodes text and source, samples, decodes.",
            search_aliases=[
                "video edit",
                "instruction edit",
                "replace",
                "remove object",
                "restyle",
                "inpaint",
                "sampler",
            ],
            **newer_fields(io.Schema, essentials_category="Video Tools"),
            inputs=[
                *model_inputs(),
                io.Image.Input(
                    "frames", tooltip="Fitted frames from SAMA Source Video: 4k+1, sides ÷16."
                ),
                instruction_input(),
                *sampling_inputs(),
                tag_input(),
                tiling_input(),
                mask_input(),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt],
            outputs=[
                io.Image.Output(
                    display_name="frames",
                    tooltip="The edited frames, as many as went in; where a "
                    "mask is black, the pixels that went in.",
                )
            ],
        )

    @classmethod
    def validate_inputs(cls, instruction) -> str | bool:
        return instruction is None or bool(clean_instruction(instruction)) or _EMPTY

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
    ) -> io.NodeOutput:
        check_saving_of(cls.hidden.prompt, cls.hidden.unique_id)
        settings = EditSettings(
            instruction, seed, steps, cfg, shift, sampler_name, edit_tag, tiling
        )
        return io.NodeOutput(
            edit_clip(model, clip, vae, frames, settings, say_in(cls.hidden.unique_id), mask)
        )
