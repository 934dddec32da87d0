"""Loading: diffusion model, text encoder, VAE, LoRA."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import comfy.utils
import folder_paths
from comfy_api.latest import io

from ..sama_core import embedded
from ..sama_core.comfyui import joint_state, loaders
from ..sama_core.comfyui.lora import load_lora
from ..sama_core.weights.header import shard_paths
from .inputs import NO_BASE, base_model_input, check_listed, report_ui, say_during_run

CATEGORY = "SAMA/load"


def _stamp(folder: str, *names: str | None) -> list:
    """Path, time and size of the named files and their sibling shards.

    It changes when a file does, so that a replaced file is loaded again. Linked inputs arrive as
    None and are skipped.
    """
    paths = [folder_paths.get_full_path(folder, name) for name in names if name]
    files = [file for path in paths if path for file in shard_paths(path)]
    return [(str(file), file.stat().st_mtime, file.stat().st_size) for file in files]


@contextmanager
def _progress_in(node_id: str) -> Iterator[Callable[[int, int], None]]:
    """A function that shows in the node how many blocks are loaded: a bar, and a line of text,
    which goes when all are.
    """
    bar = comfy.utils.ProgressBar(1)
    with say_during_run(node_id) as say:

        def report(done: int, total: int) -> None:
            say(f"SAMA: loading weights, {done} of {total} blocks")
            bar.update_absolute(done, total)

        yield report


class LoadModel(io.ComfyNode):
    """SAMA diffusion model → MODEL, ready for every sampler."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        files = folder_paths.get_filename_list("diffusion_models")
        return io.Schema(
            node_id="SAMALoadModel",
            display_name="Load SAMA Model",
            category=CATEGORY,
            description="Loads a SAMA video-editing model. A file of another kind is refused "
            "before it is loaded.",
            search_aliases=["sama", "video edit model", "wan edit", "load diffusion model"],
            inputs=[
                io.Combo.Input(
                    "model_name",
                    options=files,
                    tooltip="The SAMA file in models/diffusion_models: full model, fp8, or a "
                    f"delta file. {embedded.DIT.name} is the small model inside the pack, for "
                    "coloured shapes.",
                ),
                io.Combo.Input(
                    "weight_dtype",
                    options=list(loaders.WEIGHT_DTYPES),
                    default="default",
                    advanced=True,
                    tooltip="Storage of the weights. Default keeps the file's; fp8 takes half the "
                    "memory of bf16 and is less exact; _fast also multiplies in fp8, on cards "
                    "that can.",
                ),
                base_model_input(files),
                io.Int.Input(
                    "num_heads",
                    default=0,
                    min=0,
                    max=256,
                    optional=True,
                    advanced=True,
                    tooltip="Attention heads. Default 0 takes the count in the file's metadata, "
                    "else width / 128, right for every released model.",
                ),
                io.Boolean.Input(
                    "check_weights",
                    default=False,
                    optional=True,
                    advanced=True,
                    tooltip="Look for NaN and infinite weights while loading. Default off: it "
                    "reads the whole file once more.",
                ),
            ],
            outputs=[
                io.Model.Output(
                    tooltip="Sample it with any ComfyUI sampler, or give it to SAMA Edit."
                )
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, model_name) -> str | bool:
        return check_listed("diffusion_models", model_name)

    @classmethod
    def fingerprint_inputs(
        cls, model_name, weight_dtype, base_model=NO_BASE, num_heads=0, check_weights=False
    ) -> list:
        return _stamp("diffusion_models", model_name, None if base_model == NO_BASE else base_model)

    @classmethod
    def execute(
        cls, model_name, weight_dtype, base_model=NO_BASE, num_heads=0, check_weights=False
    ) -> io.NodeOutput:
        path = folder_paths.get_full_path_or_raise("diffusion_models", model_name)
        base = (
            None
            if base_model == NO_BASE
            else folder_paths.get_full_path_or_raise("diffusion_models", base_model)
        )
        heads = num_heads or None
        with _progress_in(cls.hidden.unique_id) as report:
            model = loaders.load_diffusion_model(
                path, base, weight_dtype, heads, check_weights, report_to=report
            )
        return io.NodeOutput(model)


class PrepareModel(io.ComfyNode):
    """A SAMA MODEL from the stock or a GGUF loader → the same, ready for every sampler."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SAMAPrepareModel",
            display_name="Prepare SAMA Model",
            category=CATEGORY,
            description="Makes a SAMA model from Load Diffusion Model, a checkpoint or a GGUF "
            "loader ready to sample. Load SAMA Model does this itself.",
            search_aliases=["sama gguf", "sama patch"],
            inputs=[io.Model.Input("model", tooltip="A SAMA model from any loader.")],
            outputs=[io.Model.Output(tooltip="The prepared model.")],
        )

    @classmethod
    def execute(cls, model) -> io.NodeOutput:
        return io.NodeOutput(joint_state.prepare(model))


class LoadTextEncoder(io.ComfyNode):
    """umT5 → CLIP."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SAMALoadTextEncoder",
            display_name="Load SAMA Text Encoder",
            category=CATEGORY,
            description="Loads umT5, Wan 2.1's text encoder: ComfyUI's safetensors or the "
            "official .pth.",
            search_aliases=["umt5", "t5", "load clip", "text encoder"],
            inputs=[
                io.Combo.Input(
                    "text_encoder_name",
                    options=folder_paths.get_filename_list("text_encoders"),
                    tooltip="The umT5 file in models/text_encoders. An official .pth needs "
                    f"spiece.model beside it. {embedded.TEXT_ENCODER.name} belongs to the "
                    "small model inside the pack.",
                )
            ],
            outputs=[io.Clip.Output(tooltip="Give it to SAMA Instruction or SAMA Edit.")],
        )

    @classmethod
    def validate_inputs(cls, text_encoder_name) -> str | bool:
        return check_listed("text_encoders", text_encoder_name)

    @classmethod
    def fingerprint_inputs(cls, text_encoder_name) -> list:
        return _stamp("text_encoders", text_encoder_name)

    @classmethod
    def execute(cls, text_encoder_name) -> io.NodeOutput:
        path = folder_paths.get_full_path_or_raise("text_encoders", text_encoder_name)
        return io.NodeOutput(loaders.load_text_encoder(path))


class LoadVAE(io.ComfyNode):
    """Wan 2.1's VAE → VAE."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SAMALoadVAE",
            display_name="Load SAMA VAE",
            category=CATEGORY,
            description="Loads the Wan 2.1 VAE, and refuses a file with another VAE.",
            search_aliases=["wan vae", "load vae"],
            inputs=[
                io.Combo.Input(
                    "vae_name",
                    options=folder_paths.get_filename_list("vae"),
                    tooltip=f"The Wan 2.1 VAE in models/vae. {embedded.VAE.name} belongs to the "
                    "small model inside the pack.",
                )
            ],
            outputs=[io.Vae.Output(tooltip="Encodes the source and decodes the edit.")],
        )

    @classmethod
    def validate_inputs(cls, vae_name) -> str | bool:
        return check_listed("vae", vae_name)

    @classmethod
    def fingerprint_inputs(cls, vae_name) -> list:
        return _stamp("vae", vae_name)

    @classmethod
    def execute(cls, vae_name) -> io.NodeOutput:
        return io.NodeOutput(loaders.load_vae(folder_paths.get_full_path_or_raise("vae", vae_name)))


class LoadLora(io.ComfyNode):
    """MODEL + LoRA file → MODEL and a report of what matched."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SAMALoadLora",
            display_name="Load SAMA LoRA",
            category=CATEGORY,
            description="Applies a LoRA for SAMA or Wan 2.1 T2V 14B, under the names of any "
            "trainer, and reports what was applied. Fails if nothing can be.",
            search_aliases=["lora", "lightx2v", "distill lora", "few step"],
            inputs=[
                io.Model.Input("model", tooltip="A SAMA model."),
                io.Combo.Input(
                    "lora_name",
                    options=folder_paths.get_filename_list("loras"),
                    tooltip="The LoRA file in models/loras.",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=-20.0,
                    max=20.0,
                    step=0.01,
                    tooltip="How much of the LoRA is applied. Default 1; 0 leaves the model as it "
                    "is.",
                ),
            ],
            outputs=[
                io.Model.Output(tooltip="The model with the LoRA."),
                io.String.Output(
                    display_name="report", tooltip="How many layers are applied; which are not."
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, lora_name) -> str | bool:
        return check_listed("loras", lora_name)

    @classmethod
    def fingerprint_inputs(cls, model, lora_name, strength) -> list:
        return _stamp("loras", lora_name)

    @classmethod
    def execute(cls, model, lora_name, strength) -> io.NodeOutput:
        model, report = load_lora(
            model, folder_paths.get_full_path_or_raise("loras", lora_name), strength
        )
        return io.NodeOutput(model, report, ui=report_ui(report))
