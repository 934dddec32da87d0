"""Semantic latents apart from the video: take them from a sampled latent, or attach them to one."""

from comfy_api.latest import io

from ..sama_core.comfyui.streams import join_latent, split_latent

CATEGORY = "SAMA/latent"
SemanticType = io.Custom("SAMA_SEMANTIC")


class SplitLatent(io.ComfyNode):
    """A sampled LATENT → the video alone, and its semantic tokens."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SAMASplitLatent",
            display_name="SAMA Split Latent",
            category=CATEGORY,
            description="Takes the semantic tokens from a latent that a SAMA run returned, to "
            "keep them across nodes that lose them (upscale, batch). Set Latent Noise Mask keeps "
            "them without this node.",
            search_aliases=["semantic tokens", "separate latent"],
            inputs=[io.Latent.Input("latent", tooltip="A latent directly from a sampler.")],
            outputs=[
                io.Latent.Output(display_name="video", tooltip="The video latent alone."),
                SemanticType.Output(display_name="semantic", tooltip="Its 65 semantic tokens."),
            ],
        )

    @classmethod
    def execute(cls, latent) -> io.NodeOutput:
        return io.NodeOutput(*split_latent(latent))


class JoinLatent(io.ComfyNode):
    """LATENT + semantic tokens → a LATENT that the next SAMA sampler continues."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SAMAJoinLatent",
            display_name="SAMA Join Latent",
            category=CATEGORY,
            description="Gives semantic tokens back to a video latent, so that the next sampler "
            "continues both.",
            search_aliases=["semantic tokens", "combine latent"],
            inputs=[
                io.Latent.Input("video", tooltip="A video latent."),
                SemanticType.Input("semantic", tooltip="Tokens from SAMA Split Latent."),
            ],
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="Connect it directly to a sampler.")
            ],
        )

    @classmethod
    def execute(cls, video, semantic) -> io.NodeOutput:
        return io.NodeOutput(join_latent(video, semantic))
