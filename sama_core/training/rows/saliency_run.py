"""The training of a learned saliency on rows, SARA's first stage: `saliency RECIPE`.

    rows ─▶ SaliencyRows ─▶ SaliencyAligner ─▶ cross-entropy with the mask + InfoNCE with the text
    result   align.saliency_model, or saliency.safetensors in the output folder
    beside   saliency/: state.pt, log.jsonl, loss.png, bad_rows.jsonl, diagnostics.json

The recipe is that of the run: its teacher, text encoder, size and frames are those of the saliency,
and with `align.saliency_model` set the run reads what was trained here. What a step sees depends on
seed and step alone, so that a stopped training goes on as if it had not been stopped.
"""

import json
import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from torch import Tensor
from tqdm.auto import tqdm

from ...errors import needed
from ...weights.write import whole_file
from ..alignment import AlignConfig, SaliencyAligner
from ..alignment.saliency import ORIGIN, read_saliency_origin, saliency_losses
from ..alignment.saliency_diagnostics import describe_attention, describe_saliency, overlap_of
from ..alignment.teachers import TeacherSource
from ..alignment.teachers.base import digest_file
from ..alignment.teachers.teacher_source import tracks_subject
from ..config import TrainConfig
from ..objectives.noising import stream
from ..optim.optimisation import projector_rate_at
from ..outputs import TrainLog, load_state, save_state, write_weights
from ..recipe import ConfigError, refuse_changes
from ..seeded_draws import draw_from
from ..stopping import StoppedError, StopSignals
from ..trainer import DivergedError
from .fill_features import open_text
from .rows import RowError, digest_rows, rows_file
from .saliency_rows import Group, SaliencyRows, group_rows, list_rows

FILE, FOLDER = "saliency.safetensors", "saliency"
HEADS = 8
HELD_OUT = "rows held out"
"""Among what a saliency was made of: numbers of rows that `[validation]` kept from it."""


def train_saliency(config: TrainConfig) -> str:
    """Train, or go on; writes the file and the diagnostics, and returns what to print.

    Raises SamaError for settings, files or rows that do not fit.
    """
    align = _check(config)
    target = SaliencyFiles.of(config, align)
    target.refuse_strange()
    state = PartialState(cpu=not torch.accelerator.is_available())
    if state.num_processes > 1:
        fix = "Start it without torchrun or accelerate launch."
        raise ConfigError(needed("saliency", f"{state.num_processes} processes", "one", fix))
    source = TeacherSource.of(align.teacher)
    source.check()
    encode_text = open_text(config, state.device)
    assert encode_text is not None
    encode_text("")  # a wrong file is told now, and not when all features are made
    read = SaliencyRows(config, source, encode_text, state.device)
    bad, rows, held_out = list_rows(read, target.folder)
    rows = read.prepare(rows, bad)
    made_of = {
        "teacher": source.key,
        "text_encoder": digest_file(Path(config.text_encoder)),
        "data": _digest_data(Path(config.data)),
        "size": [config.height, config.width],
        "frames": config.frames,
        "seed": config.seed,
        HELD_OUT: held_out,
    }
    groups = group_rows(rows, read.settings.unite)
    training = SaliencyTraining(read, groups, target.folder, made_of)
    training.run()
    target.write(training)
    found = training.measure()
    with whole_file(target.folder / "diagnostics.json") as partial:
        partial.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return describe(target, align, found, len(held_out))


@dataclass(frozen=True)
class SaliencyFiles:
    """Where the training of a recipe writes."""

    path: Path
    """The trained weights."""
    folder: Path
    """Everything else."""

    @classmethod
    def of(cls, config: TrainConfig, align: AlignConfig) -> "SaliencyFiles":
        """Of a recipe."""
        output = Path(config.output)
        return cls(Path(align.saliency_model or output / FILE), output / FOLDER)

    def refuse_strange(self) -> None:
        """ConfigError for a file that the folder's training did not write: it would be lost."""
        if not self.path.exists():
            return
        state, said = load_state(self.folder), read_saliency_origin(self.path)
        if state is None or any(said.get(name) != one for name, one in state["made_of"].items()):
            got = f"{self.path}, which is there and not of this training"
            fix = "Set align.saliency_model to a new name, or go on to train."
            raise ConfigError(needed("align.saliency_model", got, "a file to write", fix))

    def write(self, training: "SaliencyTraining") -> None:
        """The weights, with what they were made of."""
        facts = {**training.made_of, **asdict(training.settings)}
        info = {
            "format": "pt",
            "modelspec.title": "SARA saliency",
            "heads": str(training.heads),
            ORIGIN: json.dumps(facts),
        }
        weights = {name: one.cpu() for name, one in training.aligner.state_dict().items()}
        write_weights(self.path, weights, info, torch.float32)


class SaliencyTraining:
    """One saliency in training. `run` starts where the folder's checkpoint left off."""

    def __init__(
        self, read: SaliencyRows, groups: Sequence[Group], folder: Path, made_of: dict[str, Any]
    ):
        """`made_of`: what the result depends on, beside the settings.

        Raises ConfigError for a checkpoint of other settings, StateError for a damaged one.
        """
        self.read, self.config, self.settings = read, read.config, read.settings
        self.folder, self.made_of, self.step = folder, made_of, 0
        self.trained, self.apart = hold_out(groups, self.settings.held_out, self.config.seed)
        self._check_kinds()
        text_width = read.encode_text("").shape[-1]
        width = read.source.width
        self.heads = math.gcd(HEADS, width)
        with draw_from(self.config.seed):
            self.aligner = SaliencyAligner(width, text_width, self.heads).to(read.device)
        self.aligner.recompute = self.config.gradient_checkpointing
        settings = self.settings
        self.optimizer = torch.optim.AdamW(
            self.aligner.parameters(), settings.rate, weight_decay=settings.weight_decay
        )
        self._resume()

    def run(self) -> None:
        """All remaining steps.

        Raises DivergedError at the first loss that is no number, StoppedError after a signal.
        """
        settings, log = self.settings, TrainLog(self.folder, self.step)
        self.aligner.train()
        with (
            tqdm(total=settings.steps, initial=self.step, desc="saliency") as bar,
            StopSignals() as stop,
        ):
            while self.step < settings.steps:
                found = self.train_step()
                if self.step % settings.log_every == 0 or self.step == settings.steps - 1:
                    log.write(step=self.step, **found)
                    bar.set_postfix(loss=f"{found['total']:.4f}")
                self.step += 1
                bar.update()
                is_last = self.step == settings.steps
                if stop.number or is_last or self.step % settings.checkpoint_every == 0:
                    self.save()
                    log.plot()
                if stop.number and not is_last:
                    raise StoppedError(self._say_stopped(), stop.number)

    def _say_stopped(self) -> str:
        done = f"Stopped after {self.step} of {self.settings.steps} steps"
        return f"{done}; all is saved in {self.folder}. The same command goes on from there."

    def train_step(self) -> dict[str, float]:
        """One step: losses, rate, and what the saliency of the batch is like."""
        settings = self.settings
        rate = projector_rate_at(self.step, settings.steps, settings)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        drawn = self._draw()
        seen = self.read.read(drawn)
        with self._autocast():
            fused, saliency = self.aligner(seen.tokens, seen.text, seen.real)
        masked, contrast = saliency_losses(
            self.aligner, (fused.float(), saliency), seen.text, seen.real, seen.masks, seen.alike
        )
        total = (settings.mask_weight * masked + settings.contrast_weight * contrast).mean()
        self.optimizer.zero_grad()
        total.backward()
        limit = settings.clip_norm or math.inf
        norm = torch.nn.utils.clip_grad_norm_(self.aligner.parameters(), limit)
        self._refuse_nan(total, norm, drawn)
        self.optimizer.step()
        losses = {"total": total, "mask": masked.mean(), "contrast": contrast.mean()}
        found = {name: value.item() for name, value in losses.items()}
        return {**found, **_prefix(describe_saliency(saliency.detach())), "rate": rate}

    @torch.no_grad()
    def measure(self) -> dict[str, Any]:
        """SARA Tab. 4 on the rows that were kept apart, or on those of the training without any,
        row by row; beside it the `overlap` with the masks, and what these are like ("mask_mean" …).
        """
        groups = self.apart or self.trained[: self.settings.held_out or 1]
        self.aligner.eval()
        found: list[dict[str, float]] = []
        for group in tqdm(groups, desc="diagnostics", unit="row"):
            seen = self.read.read([group])
            with self._autocast():
                saliency = self.aligner(seen.tokens, seen.text, seen.real)[1]
                inside = describe_attention(self.aligner, seen.tokens, seen.text, seen.real)
            overlap = overlap_of(saliency, seen.masks)
            truth = {f"mask_{name}": one for name, one in describe_saliency(seen.masks).items()}
            found.append({**describe_saliency(saliency), **inside, "overlap": overlap, **truth})
        means = {name: sum(one[name] for one in found) / len(found) for name in found[0]}
        return {"rows": len(found), "held_out": bool(self.apart), **means}

    # --- rows ------------------------------------------------------------------------------------

    def _draw(self) -> list[Group]:
        """The rows of a step, all pictures or all clips, each once."""
        image = self.config.is_image_step(self.step)
        pool = [rows for rows in self.trained if rows[0].is_image == image]
        order = torch.randperm(
            len(pool), generator=stream(self.config.seed, "saliency rows", self.step)
        )
        return [pool[place] for place in order[: self.settings.batch_size].tolist()]

    def _check_kinds(self) -> None:
        """RowError where a step would find no row, see `image_share`."""
        share, images = self.config.image_share, sum(rows[0].is_image for rows in self.trained)
        clips = len(self.trained) - images
        for kind, count, wanted in (("images", images, share > 0), ("videos", clips, share < 1)):
            if wanted and not count:
                fix = "Correct the rows, or image_share."
                got = f"no good row with {kind}"
                raise RowError(needed(f"data {self.config.data}", got, "at least one", fix))

    # --- steps and checkpoints -------------------------------------------------------------------

    def _autocast(self) -> Any:
        if self.config.precision == "no":
            return nullcontext()
        return torch.autocast(self.read.device.type, torch.bfloat16)

    def _refuse_nan(self, total: Tensor, norm: Tensor, drawn: Sequence[Group]) -> None:
        if not (torch.isfinite(total) and torch.isfinite(norm)):
            numbers = ", ".join(str(row.number) for rows in drawn[:4] for row in rows)
            got = f"not a number for rows {numbers}"
            fix = "The last checkpoint is kept. Lower saliency.rate, or use precision no."
            raise DivergedError(needed(f"saliency at step {self.step}", got, "a finite loss", fix))

    def save(self) -> None:
        """Write the resumable state."""
        state = {
            "step": self.step,
            "made_of": self.made_of,
            "settings": asdict(self.settings),
            "model": self.aligner.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        save_state(self.folder, state)

    def _resume(self) -> None:
        state = load_state(self.folder)
        if state is None:
            return
        refuse_changes(state["settings"], self.settings, {"checkpoint_every", "log_every"})
        before = {HELD_OUT: [], **state["made_of"]}
        changed = [name for name, now in self.made_of.items() if before.get(name) != now]
        if changed:
            fix = f"Change them back, or move {self.folder} away to begin anew."
            got = f"another {' and '.join(changed)} than before"
            raise ConfigError(needed("resume", got, "those of the checkpoint", fix))
        self.aligner.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]


def hold_out(groups: Sequence[Group], most: int, seed: int) -> tuple[list[Group], list[Group]]:
    """Rows to train on and rows kept apart: those of `most` target clips, or of a fifth if that is
    less. All rows of a target are on one side.
    """
    targets = sorted({rows[0].target for rows in groups})
    order = torch.randperm(len(targets), generator=stream(seed, "saliency held out"))
    apart = {targets[place] for place in order[: min(most, len(targets) // 5)].tolist()}
    kept = [rows for rows in groups if rows[0].target in apart]
    return [rows for rows in groups if rows[0].target not in apart], kept


def describe(
    target: SaliencyFiles, align: AlignConfig, found: dict[str, Any], held_out: int = 0
) -> str:
    """What was written, what it is like, and what to do with it; `held_out` rows were left out."""
    size = target.path.stat().st_size / 1e6
    kind = "held-out rows" if found["held_out"] else "rows of the training"
    values = ", ".join(
        f"{name} {value:.3f}" for name, value in found.items() if isinstance(value, float)
    )
    lines = [f"{target.path}  {size:.1f} MB", f"On {found['rows']} {kind}: {values}"]
    if held_out:
        rows = "row that [validation] holds" if held_out == 1 else "rows that [validation] holds"
        lines.append(f"{held_out} {rows} out: not learned from.")
    if not align.saliency_model:
        lines.append(f'Set saliency_model = "{target.path}" in [align] to train with it.')
    return "\n".join(lines)


def _digest_data(path: Path) -> str:
    """A name of what the rows are."""
    path = rows_file(path)
    return digest_rows(path) if path.is_dir() else digest_file(path)


def _prefix(values: dict[str, float]) -> dict[str, float]:
    return {f"saliency_{name}": value for name, value in values.items()}


def _check(config: TrainConfig) -> AlignConfig:
    """The alignment. ConfigError for a recipe that no learned saliency is for."""
    fix = "See docs/alignment.md."
    align = config.align
    if align is None or align.saliency != "learned":
        got = "no [align]" if align is None else repr(align.saliency)
        raise ConfigError(needed("align.saliency", got, "'learned', as in method sara", fix))
    if not align.teacher:
        raise ConfigError(needed("align.teacher", "none", "one for the task saliency", fix))
    if tracks_subject(align.teacher):
        got, need = "learned with sam2", "a teacher that follows no subject"
        fix = "Use vjepa2, or another saliency."
        raise ConfigError(needed("align.saliency", got, need, fix))
    if not Path(config.text_encoder).is_file():
        got = f"no file {config.text_encoder}" if config.text_encoder else "nothing"
        need = "the path of umT5"
        raise ConfigError(needed("text_encoder", got, need, "Set it in the recipe."))
    return align
