"""Drafts of an edit: single frames, each edited as a clip of its own, over seeds and instructions.

    instructions ──once each──▶ text ─┐
    anchor frames ──once each──▶ source latents ─┼─ sample ──▶ decode ──▶ board, store
    seed ──▶ the clip's noise at that frame ─────┘

A draft starts from the noise that the full edit of the connected clip has at the draft's latent
frame, and from its semantic noise. Noise drawn for one frame, as KSampler and SAMA Anchor Preview
draw it, would be another one: then the seed of a good draft is worth little (docs/lab/drafts.md).
"""

import time
import uuid
from collections.abc import Callable
from dataclasses import astuple, replace

import comfy.model_management
import comfy.sample
import torch
from torch import Tensor

from ..drafts import Asked, Draft
from ..geometry import ClipShape, LatentShape, pad_frame_count
from ..identity import Description, Indescribable
from ..model.semantic import seed_for_part
from ..region import FittedClip
from .conditioning import encode_source, require_wan_vae
from .draft_board import DraftBoard
from .draft_costs import DraftCosts
from .edit import EditRun, EditSettings
from .joint_state import prepare
from .kept_drafts import KEPT, TEXTS, picture_file, to_bytes
from .model import lattice_of_model
from .node_progress import keep_remark
from .run_identity import RunIdentity
from .unknown_words import remark_on_words

LATER_FRAMES = (
    "A draft of frame 0 shows what the full edit has there: 40 dB apart on SAMA-Shapes. Drafts of "
    "later frames tell less, 33 dB: they show whether the words are understood, not the details."
)
"""Said where a later frame is drafted; measured in docs/lab/drafts.md."""


def draw_drafts(
    model,
    clip,
    vae,
    images: Tensor,
    asked: Asked,
    settings: EditSettings,
    board: DraftBoard,
    say: Callable[[str], object] | None = None,
) -> tuple[dict[int, Tensor], list[Tensor]]:
    """Draw what is not kept, and show it on the board → the source's frames by number, the drafts.

    Both are (H, W, 3) uint8; drafts are in the order of `asked.drafts`. `images` (F, H, W, 3) is
    the clip that the full edit gets; instruction and seed of `settings` do not count. Raises
    SamaError, before the first weight is used, for what can be checked.
    """
    return DraftRun(model, clip, vae, images, asked, settings, say).draw(board)


class DraftRun:
    """The drafts of one sheet, ready to be drawn."""

    def __init__(
        self,
        model,
        clip,
        vae,
        images: Tensor,
        asked: Asked,
        settings: EditSettings,
        say: Callable[[str], object] | None,
    ):
        """See `draw_drafts`."""
        lattice = lattice_of_model(model)
        self.asked, self.vae, self._sources = asked, vae, dict[int, Tensor]()
        self.anchors = {
            frame: FittedClip.check(images[frame : frame + 1], lattice=lattice)
            for frame in asked.frames
        }
        length = pad_frame_count(len(images), lattice)
        self.whole = ClipShape(length, *images.shape[1:3], lattice).latent()
        require_wan_vae(vae)
        prepared = prepare(model)
        if say:
            say("SAMA: reading the instructions")
        keep_remark(remark_on_words(clip, " ".join(asked.instructions)))
        texts = {line: TEXTS.prompts(clip, line, settings.tag) for line in asked.instructions}
        self.identity = RunIdentity(prepared, vae, None, None, settings.sampler_name)
        self.keys = self._keys(texts, settings)
        missing = sum(KEPT.get(key) is None for key in self.keys)
        first = asked.instructions[0]
        settings = replace(settings, instruction=first)
        run = EditRun.prepare(model, clip, vae, settings, say, missing, prompts=texts[first])
        self.runs = {line: replace(run, prompts=prompts) for line, prompts in texts.items()}
        self.stages, settings = run.stages, run.settings
        count = len(self.keys)
        self.costs = DraftCosts.plan(
            run.model, self.whole, settings.steps, settings.cfg, count, count - missing
        )

    def draw(self, board: DraftBoard) -> tuple[dict[int, Tensor], list[Tensor]]:
        """See `draw_drafts`. Ends at an interruption; what is drawn by then is kept."""
        shown = {frame: to_bytes(anchor.frames)[0] for frame, anchor in self.anchors.items()}
        files = {
            frame: picture_file(Description().add(picture).key, picture)
            for frame, picture in shown.items()
        }
        board.begin(files, self._notes(), self.costs.lines())
        pictures = []
        for number, (draft, key) in enumerate(zip(self.asked.drafts, self.keys, strict=True)):
            comfy.model_management.throw_exception_if_processing_interrupted()
            picture = KEPT.get(key)
            if picture is None:
                picture = self._draw(draft)
                KEPT.put(key, picture)
            pictures.append(picture)
            board.show(number, picture_file(key or uuid.uuid4().hex, picture), self.costs.lines())
        return shown, pictures

    def _draw(self, draft: Draft) -> Tensor:
        """One draft, sampled and decoded: (H, W, 3) uint8."""
        costs, started = self.costs, time.perf_counter()
        new = costs.count - costs.kept
        self.stages.note = f"draft {len(costs.seconds) + 1} of {new}"
        run, anchor = self.runs[draft.instruction], self.anchors[draft.frame]
        noise, seed = clip_noise_at(draft.frame, self.whole, draft.seed)
        if draft.frame not in self._sources:
            self._sources[draft.frame] = encode_source(self.vae, anchor, run.settings.tiling)
        with self.identity.as_found():
            latent = run.sample(anchor, noise, seed, self._sources[draft.frame])
        picture = to_bytes(run.decode(latent))[0]
        costs.seconds.append(time.perf_counter() - started)
        return picture

    def _keys(self, texts: dict[str, tuple[list, list]], settings: EditSettings) -> list:
        """Of every draft, all that decides its picture; None where it cannot be described."""
        base = self.identity.key()
        common = astuple(replace(settings, instruction="", seed=0))
        whole = self.whole.frames, self.whole.height, self.whole.width
        try:
            return [
                base
                and Description()
                .add([base, common, whole, draft.frame, draft.seed])
                .add(texts[draft.instruction])
                .add(self.anchors[draft.frame].frames)
                .key
                for draft in self.asked.drafts
            ]
        except Indescribable as error:
            self.identity.why_not = str(error)
            return [None] * len(self.asked.drafts)

    def _notes(self) -> list[str]:
        notes = [*self.asked.remarks]
        if any(self.asked.frames):
            notes.append(LATER_FRAMES)
        if self.identity.why_not:
            notes.append(
                "These drafts are drawn again in every run: a part of the model or of the text "
                f"encoder cannot be compared with an earlier run ({self.identity.obstacle})."
            )
        return notes


def clip_noise_at(frame: int, whole: LatentShape, seed: int) -> tuple[Tensor, int]:
    """The noise (1, C, 1, H, W) that a clip's edit with `seed` has where `frame` is, and a seed.

    With that seed a sampling of this noise has the semantic noise of the whole edit.
    """
    lattice = whole.lattice
    size = (1, lattice.channels, whole.frames, whole.height, whole.width)
    drawn = comfy.sample.prepare_noise(torch.zeros(size), seed)
    at = lattice.latents_of(pad_frame_count(frame + 1, lattice)) - 1
    part = drawn[:, :, at : at + 1]
    return part, seed_for_part(seed, drawn, part)
