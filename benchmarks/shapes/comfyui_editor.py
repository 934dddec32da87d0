"""Editing clips through a real ComfyUI server: the graph of `run.py edit`, lossless in and out.

edit         clip.mkv ─▶ Load Video ─▶ SAMA Source Video ─▶ SAMA Edit ─▶ Save Image
round trip   clip.mkv ─▶ Load Video ─▶ SAMA Source Video ─▶ VAE Encode ─▶ VAE Decode ─▶ Save Image

The clip is FFV1 in RGB, the images are PNG; SAMA Edit samples with euler and the clip's seed.
"""

import io
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.comfyui import find, running_server
from sama_core.errors import RuntimeSetupError
from sama_core.launch.places import Places
from sama_core.launch.progress import Stages
from sama_core.launch.server.client import Client, Output, Refused
from sama_core.launch.server.follow import Follower
from sama_core.launch.server.process import Server
from sama_core.launch.server.workflow import refusal
from sama_core.shapes.gate.core_editor import Edited, ModelFiles, Settings

FRAME_RATE = 12
SAVE = "save"


class ComfyEditor:
    """An `Editor` that queues one graph per clip. `edit`'s seconds run from queueing to the last
    node's end; those of the very first clip include loading the models.
    """

    def __init__(
        self,
        client: Client,
        files: ModelFiles,
        settings: Settings,
        folder: Path,
        server: Server | None = None,
    ):
        """The server has the files' names in its model folders.

        Clips are written to `folder` before they are sent.
        """
        self.client, self.files, self.settings, self.folder, self.server = (
            client,
            files,
            settings,
            folder,
            server,
        )

    def edit(self, frames: Tensor, instructions: list[str], seeds: Sequence[int]) -> Edited:
        """See `Editor`."""
        results = [
            self._run(edit_graph(self.files, self.settings, words, seed), clip)
            for clip, words, seed in zip(frames, instructions, seeds, strict=True)
        ]
        return Edited(
            torch.stack([result[0] for result in results]), sum(result[1] for result in results)
        )

    def round_trip(self, frames: Tensor) -> Tensor:
        """See `Editor`."""
        return torch.stack([self._run(codec_graph(self.files), clip)[0] for clip in frames])

    def _run(self, graph: dict, clip: Tensor) -> tuple[Tensor, float]:
        """Run the graph on the clip (F, H, W, 3) uint8 → the saved frames and its seconds."""
        path = self.folder / "clip.mkv"
        write_lossless(path, clip.numpy())
        graph["video"]["inputs"]["file"] = self.client.upload(path)
        graph["source"]["inputs"]["area"] = clip.shape[1] * clip.shape[2]
        started = time.perf_counter()
        entry = self._queue(graph)
        seconds = time.perf_counter() - started
        saved = entry["outputs"][SAVE]["images"]
        return torch.stack(
            [
                self._fetch(Output(**{key: item[key] for key in ("filename", "subfolder", "type")}))
                for item in saved
            ]
        ), seconds

    def _queue(self, graph: dict) -> dict:
        """The graph's history entry when it has ended.

        Raises LaunchError with the node's own words.
        """
        socket = self.client.listen()
        try:
            prompt_id = self.client.queue(graph)
            return Follower(self.client, socket, graph, Stages(io.StringIO()), self.server).wait(
                prompt_id
            )
        except Refused as error:
            raise RuntimeSetupError(refusal(graph, error.body)) from error
        finally:
            socket.close()

    def _fetch(self, output: Output) -> Tensor:
        picture = Image.open(io.BytesIO(b"".join(self.client.fetch(output)))).convert("RGB")
        return torch.from_numpy(np.array(picture))


@contextmanager
def running_comfyui(
    files: ModelFiles, settings: Settings, comfyui: str | None = None
) -> Iterator[ComfyEditor]:
    """A ComfyUI on the CPU with this pack and these files, in a folder that is gone afterwards.

    Raises RuntimeSetupError if a file or a ComfyUI is missing; `comfyui` is its folder, found as
    `run.py` does if None.
    """
    files.check()
    found = find(comfyui)
    with tempfile.TemporaryDirectory(prefix="sama-bench-") as folder, ExitStack() as stack:
        places = Places(work=Path(folder))
        server = stack.enter_context(running_server(places, found))
        kinds = (("diffusion_models", files.dit), ("text_encoders", files.text_encoder))
        for name, path in (*kinds, ("vae", files.vae)):
            shutil.copyfile(path, places.models / name / path.name)
        yield ComfyEditor(Client(server.url), files, settings, Path(folder), server)


def edit_graph(files: ModelFiles, settings: Settings, instruction: str, seed: int) -> dict:
    """The edit in API format; the clip's file and area are still to be set."""
    asked = {
        "instruction": instruction,
        "seed": seed,
        "steps": settings.steps,
        "cfg": settings.cfg,
        "shift": settings.shift,
        "sampler_name": "euler",
        "edit_tag": True,
        "tiling": "automatic",
    }
    parts = {"model": ["model", 0], "clip": ["text", 0], "vae": ["vae", 0], "frames": ["source", 0]}
    return {
        "model": _node("SAMALoadModel", model_name=files.dit.name, weight_dtype="default"),
        "text": _node("SAMALoadTextEncoder", text_encoder_name=files.text_encoder.name),
        **_source(files),
        "edited": _node("SAMAEdit", **parts, **asked),
        SAVE: _node("SaveImage", images=["edited", 0], filename_prefix="bench"),
    }


def codec_graph(files: ModelFiles) -> dict:
    """The clip through ComfyUI's own VAE nodes and back, in API format."""
    return {
        **_source(files),
        "encoded": _node("VAEEncode", pixels=["source", 0], vae=["vae", 0]),
        "decoded": _node("VAEDecode", samples=["encoded", 0], vae=["vae", 0]),
        SAVE: _node("SaveImage", images=["decoded", 0], filename_prefix="bench"),
    }


def write_lossless(path: Path, frames: np.ndarray) -> None:
    """Write uint8 frames (F, H, W, 3) as FFV1 in RGB: read back, every byte is the same."""
    with av.open(str(path), "w", format="matroska") as container:
        stream = container.add_stream("ffv1", rate=FRAME_RATE)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "bgr0"
        for frame in frames:
            container.mux(
                stream.encode(
                    av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format="bgr0")
                )
            )
        container.mux(stream.encode(None))


def _source(files: ModelFiles) -> dict:
    return {
        "vae": _node("SAMALoadVAE", vae_name=files.vae.name),
        "video": _node("LoadVideo", file=""),
        "source": _node(
            "SAMASourceVideo", video=["video", 0], frames=0, start=0, stride=1, area=0, fps=24.0
        ),
    }


def _node(class_type: str, **inputs: object) -> dict:
    return {"class_type": class_type, "inputs": inputs}
