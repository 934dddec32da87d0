"""Quantised files of a SAMA model."""

import folder_paths
from comfy_api.latest import io

from ..sama_core.comfyui.convert import convert_listed
from ..sama_core.convert.formats import FORMATS
from .inputs import NO_BASE, base_model_input, check_listed, report_ui


class ConvertWeights(io.ComfyNode):
    """A SAMA file → the same model in fp8 or GGUF, in ComfyUI's folder."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        files = folder_paths.get_filename_list("diffusion_models")
        return io.Schema(
            node_id="SAMAConvertWeights",
            display_name="SAMA Convert Weights",
            category="SAMA/load",
            description="Writes a SAMA model as a smaller file, fp8 or GGUF, which you then load "
            "instead. Needs little memory. If it is interrupted, it continues where it "
            "stopped.",
            search_aliases=[
                "quantize",
                "quantise",
                "fp8",
                "gguf",
                "q8_0",
                "save model",
                "merge delta",
            ],
            is_output_node=True,
            not_idempotent=True,
            inputs=[
                io.Combo.Input(
                    "model_name",
                    options=files,
                    tooltip="The SAMA file in models/diffusion_models: the full 16- or 32-bit "
                    "model, or a delta file.",
                ),
                io.Combo.Input(
                    "format",
                    options=list(FORMATS),
                    default="fp8_scaled",
                    tooltip="Format of the result. Default fp8_scaled: half the size of bf16, "
                    "works on every card. GGUF files are smaller, Q4 is the smallest; they need "
                    "a GGUF loader.",
                ),
                io.String.Input(
                    "file_name",
                    default="",
                    tooltip="Name of the new file. Default empty: the source's name, then "
                    "the format.",
                ),
                base_model_input(files),
                io.Boolean.Input(
                    "overwrite",
                    default=False,
                    optional=True,
                    advanced=True,
                    tooltip="Replace an earlier result of this node that has the same name. "
                    "Default off. Files that it did not write are kept either way.",
                ),
            ],
            outputs=[
                io.String.Output(
                    display_name="report",
                    tooltip="Sizes, what was kept, checksum, and where the file lies.",
                )
            ],
        )

    @classmethod
    def validate_inputs(cls, model_name) -> str | bool:
        return check_listed("diffusion_models", model_name)

    @classmethod
    def fingerprint_inputs(cls, **_inputs) -> float:
        return float("nan")  # equal to nothing: the file may have been removed since

    @classmethod
    def execute(
        cls, model_name, format, file_name, base_model=NO_BASE, overwrite=False
    ) -> io.NodeOutput:
        report = convert_listed(
            model_name, format, file_name, None if base_model == NO_BASE else base_model, overwrite
        )
        return io.NodeOutput(report, ui=report_ui(report))
