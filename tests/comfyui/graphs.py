"""API-format graphs for tests: short to write, run by ComfyUI's own executor."""

from dataclasses import dataclass
from fractions import Fraction

from sama_core import embedded

from ..harness.moving_shapes import moving_shapes
from ..harness.write_clip import write_clip

CLIP_FILE = "shapes.mp4"
SMALL_AREA = 32 * 32
INSTRUCTION = "make the circle red"
LONG_FILE = "long_shapes.mp4"
LONG_FRAMES = 33


@dataclass(frozen=True)
class SmallModels:
    """File names, as the loaders list them."""

    sama: str
    text_encoder: str
    vae: str
    wan: str


class Graph:
    """Nodes in API format. `add` returns a link to the node's first output; `link[0]` is its id."""

    def __init__(self):
        self.nodes: dict[str, dict] = {}

    def add(self, class_type: str, **inputs) -> list:
        node_id = str(len(self.nodes) + 1)
        self.nodes[node_id] = {"class_type": class_type, "inputs": inputs}
        return [node_id, 0]


def output(link: list, index: int) -> list:
    """Another output of the same node."""
    return [link[0], index]


class Edit(Graph):
    """Loaders, a fitted clip and conditioning; what comes after is the test's."""

    def __init__(self, comfyui, models: SmallModels, area: int, frames: int = 5, cfg_model=None):
        super().__init__()
        self.comfyui, self.models = comfyui, models
        self.model = self.add("SAMALoadModel", model_name=models.sama, weight_dtype="default")
        self.clip = self.add("SAMALoadTextEncoder", text_encoder_name=models.text_encoder)
        self.vae = self.add("SAMALoadVAE", vae_name=models.vae)
        video = self.add("LoadVideo", file=CLIP_FILE)
        self.source = self.add(
            "SAMASourceVideo", video=video, frames=frames, start=0, stride=1, area=area, fps=24.0
        )
        prompts = self.add(
            "SAMAInstruction", clip=self.clip, instruction=INSTRUCTION, edit_tag=True
        )
        self.conditioning = self.add(
            "SAMAEditConditioning",
            positive=prompts,
            negative=output(prompts, 1),
            vae=self.vae,
            frames=self.source,
            tiling="automatic",
        )
        self.positive, self.negative = self.conditioning, output(self.conditioning, 1)
        self.latent, self.source_latent = output(self.conditioning, 2), output(self.conditioning, 3)

    def use_shapes(self) -> "Edit":
        """Edit 5 frames of 64x64 with the model inside the pack."""
        for link, field, file in (
            (self.model, "model_name", embedded.DIT),
            (self.vae, "vae_name", embedded.VAE),
            (self.clip, "text_encoder_name", embedded.TEXT_ENCODER),
        ):
            self.nodes[link[0]]["inputs"][field] = file.name
        self.nodes[self.source[0]]["inputs"] |= {"area": 0, "model": self.model}
        return self

    def patch(self, class_type: str, **inputs) -> "Edit":
        """Put a model node between the loader and the sampler."""
        self.model = self.add(class_type, model=self.model, **inputs)
        return self

    def ksampler(self, **changes) -> list:
        """A KSampler on the graph's model, conditioning and latent: three euler steps, cfg 5, seed
        1.
        """
        settings = {
            "seed": 1,
            "steps": 3,
            "cfg": 5.0,
            "sampler_name": "euler",
            "scheduler": "simple",
            "denoise": 1.0,
            "model": self.model,
            "positive": self.positive,
            "negative": self.negative,
            "latent_image": self.latent,
        }
        return self.add("KSampler", **{**settings, **changes})

    def custom(
        self, sigmas: list, noise: list | None = None, latent: list | None = None, cfg: float = 5.0
    ) -> list:
        """A SamplerCustomAdvanced with euler on the graph's model and conditioning."""
        guider = self.add(
            "CFGGuider", model=self.model, positive=self.positive, negative=self.negative, cfg=cfg
        )
        return self.add(
            "SamplerCustomAdvanced",
            noise=noise or self.add("RandomNoise", noise_seed=1),
            guider=guider,
            sampler=self.add("KSamplerSelect", sampler_name="euler"),
            sigmas=sigmas,
            latent_image=latent or self.latent,
        )

    def values(self, link: list, **options):
        """Run the graph and return what the linked output holds."""
        result = self.comfyui.run(self.nodes, keep=[link[0]], **options).check()
        return result.values[link[0]][link[1]]

    def sample(self, **changes) -> dict:
        """Run `ksampler(**changes)`: {"video": ..., "semantic": ...}."""
        return streams(self.values(self.ksampler(**changes)))


def whole_edit(edit: Edit, **changes) -> list:
    """A SAMA Edit node on the graph's parts: three euler steps, cfg 5, seed 1."""
    settings = {
        "seed": 1,
        "steps": 3,
        "cfg": 5.0,
        "shift": 5.0,
        "sampler_name": "euler",
        "edit_tag": True,
        "tiling": "automatic",
        "instruction": INSTRUCTION,
    }
    return edit.add(
        "SAMAEdit",
        model=edit.model,
        clip=edit.clip,
        vae=edit.vae,
        frames=edit.source,
        **{**settings, **changes},
    )


def long_graph(comfyui, models: SmallModels, frames=LONG_FRAMES, area=SMALL_AREA) -> Edit:
    """An `Edit` of a clip of 41 frames, of which it takes so many."""
    path = comfyui.base / "input" / LONG_FILE
    if not path.exists():
        write_clip(path, moving_shapes(LONG_FRAMES + 8, 48, 32), Fraction(12))
    edit = Edit(comfyui, models, area=area, frames=frames)
    (video,) = (node for node in edit.nodes.values() if node["class_type"] == "LoadVideo")
    video["inputs"]["file"] = LONG_FILE
    return edit


def long_edit(edit: Edit, **changes) -> list:
    """A SAMA Long Edit node on the graph: segments of 17, two euler steps, cfg 1, seed 1."""
    settings = {
        "seed": 1,
        "steps": 2,
        "cfg": 1.0,
        "shift": 5.0,
        "sampler_name": "euler",
        "edit_tag": True,
        "tiling": "automatic",
        "instruction": INSTRUCTION,
        "segment_frames": 17,
        "overlap_frames": 4,
        "anchor_colours": False,
        "keep_segments": True,
    }
    return edit.add(
        "SAMALongEdit",
        model=edit.model,
        clip=edit.clip,
        vae=edit.vae,
        frames=edit.source,
        **{**settings, **changes},
    )


def spoken(result) -> list[str]:
    """The lines of text the server would have shown in nodes: node id length, node id, text."""
    lines = []
    for _event, data in result.messages:
        if isinstance(data, bytes) and b"SAMA: " in data:
            lines.append(data[data.index(b"SAMA: ") :].decode())
    return lines


def estimated_shapes(monkeypatch) -> list[list[int]]:
    """The shapes core asks the model's memory estimate for, from now on, in order."""
    from sama_core.comfyui.model import SamaModel

    shapes, original = [], SamaModel.memory_required

    def record(self, shape, cond_shapes={}):
        shapes.append(list(shape))
        return original(self, shape, cond_shapes)

    monkeypatch.setattr(SamaModel, "memory_required", record)
    return shapes


def streams(latent: dict) -> dict:
    """Both streams of a LATENT that a SAMA sampler returned."""
    from sama_core.comfyui.streams import carried_semantic

    return {"video": latent["samples"], "semantic": carried_semantic(latent["samples"])}
