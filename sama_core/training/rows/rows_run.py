"""Training on real data: what a recipe with paths makes, and the files that come out.

model (+ base_model)                  ──▶ Trainee
vae, text_encoder, semantic_encoder   ──▶ FrozenEncoders ─┬▶ RowsData
align: teacher, features              ──▶ RowFeatures ────┘
result                                sama.safetensors, sama_delta.safetensors (over base_model)
                                      or sama_lora.safetensors (lora_rank > 0)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import PartialState
from torch import Tensor

from ...errors import needed
from ..config import TrainConfig
from ..fingerprint import digest_ends, digest_texts
from ..lora import start_from
from ..lora_file import write_lora
from ..memory.arrange import choose_layers
from ..objective import SamaObjective
from ..objectives.noising import stream
from ..outputs import delta_of, metadata, provenance, write_weights
from ..recipe import ConfigError, refuse_bad
from ..sharding import is_wished
from ..trainee import Trainee
from ..trainer_state import ROW_WEIGHTS, ROWS, START
from ..validation.held_out_loss import Validation
from .data import RowsData, read_mask
from .digest import digest_clips, digest_semantics, digest_weights
from .features import RowFeatures
from .fill_features import has_features
from .fill_kept import fill_kept
from .first_weights import ModelFiles
from .frozen_encoders import FrozenEncoders
from .held_out_rows import HeldOutRows
from .preflight import refuse_missing
from .room import list_room, refuse_full_disks, room_of_features
from .rows import Row

FULL, DELTA = "sama.safetensors", "sama_delta.safetensors"


@dataclass(frozen=True)
class RowsRun:
    """A training of a SAMA model, ready for the trainer."""

    config: TrainConfig
    """The recipe's settings."""
    files: ModelFiles
    """Where the model comes from."""
    trainee: Trainee
    """What is trained."""
    data: RowsData
    """Its batches."""
    held_out: HeldOutRows | None
    """The rows that are not trained on."""

    @classmethod
    def of(cls, config: TrainConfig, fills: bool = True) -> "RowsRun":
        """Raises SamaError for settings, files or data that do not fit; weights are read last.

        `fills`: make and keep what the encoders say of the rows, where `[clips]` keeps it; else
        nothing is trained, as for `export`, and no checkpoint needs room.
        """
        refuse_missing(config, saves=fills)
        process = PartialState(cpu=not torch.accelerator.is_available())
        encoders = FrozenEncoders.of(config, process.device)
        lora = config.lora_rank > 0
        files = ModelFiles.of(config.model, config.base_model, encoders.semantics.width, lora)
        if config.lora_rank and files.new:
            raise ConfigError(
                needed(
                    "lora_rank",
                    f"{config.lora_rank} on plain Wan",
                    "a trained SAMA model",
                    "Choose a SAMA file as model, or train all weights with lora_rank 0.",
                )
            )
        model, lattice = files.plan.config, files.plan.config.lattice
        refuse_bad(config.clip_checks(lattice))
        if config.align:
            config.align.choose_block(model.num_layers)
        encoders.check_latents(lattice)
        encoders.semantics.check_width(model.semantic_dim)
        encoders.check_text_width(model.text_dim)
        features = None
        if config.align:
            features = RowFeatures(config, config.align, read_mask, encoders.text, process.device)
        place = (process.process_index, process.num_processes)
        data = RowsData(config, encoders, process.is_main_process, lattice, features, place)
        if fills and features:
            _check_features(features, [*data.clips, *data.images])
        held = None
        if fills and data.held_out:
            held = HeldOutRows(config, data.held_out, encoders, lattice)
        if fills and fill_kept(data):
            encoders.release()  # the card is the model's now
        elif fills:
            encoders.open()
        process.wait_for_everyone()
        dit = files.load(
            _choose_first_dtype(config, process.num_processes),
            stream(config.seed, "weights"),
            frozen=lora,
            shrink=config.memory.base == "fp8",
            operations=choose_layers(config),
        )
        trainee = Trainee(dit, None, config, features.width if features else 0)
        for weight in trainee.parameters() if lora else ():
            weight.data = weight.data.float() if weight.requires_grad else weight.data
        if config.init:
            start_from(dit, Path(config.init), config)
        return cls(config, files, trainee, data, held)

    @property
    def objective(self) -> SamaObjective:
        """See `Run`."""
        return SamaObjective(self.config, self.trainee.aligner)

    @property
    def digests(self) -> dict[str, str]:
        """See `Run`: the rows, the encoders, and the model: by itself where a part of it stays as
        it is.
        """
        rows, config = [*self.data.clips, *self.data.images], self.config
        found = {ROWS: digest_clips(rows), ROW_WEIGHTS: digest_weights(rows)}
        *below, model = (digest_ends(file.path) for file in self.files.plan.files)
        if all(weight.requires_grad for weight in self.trainee.dit.parameters()):
            found[START] = digest_texts([*below, model])
        else:
            found["model"] = model
            if below:
                found["base_model"] = digest_texts(below)
        found |= {
            name: digest_ends(Path(getattr(config, name))) for name in ("vae", "text_encoder")
        }
        found["semantic_encoder"] = digest_semantics(config.semantic_encoder)
        if self.data.features:
            found["teacher"] = self.data.features.name_teacher()
        return found

    def validation(self) -> Validation | None:
        """See `Run`."""
        config, held = self.config, self.held_out
        if config.validation is None or held is None:
            return None
        return Validation(config.validation, held, config.seed, Path(config.output))

    def write(
        self, averaged: dict[str, Tensor], steps: int, folder: Path | None = None
    ) -> list[Path]:
        """Write a LoRA, or the model as it came, full or delta; returns the file's path.

        Reports how many rows were left out.

        Models are written in the precision they were computed in, LoRAs in float32.
        """
        config, folder = self.config, folder or Path(self.config.output)
        if config.lora_rank:
            path = write_lora(folder, averaged, config, self.files.plan.files[-1].path, steps)
        else:
            path = self._write_model(folder, averaged, steps)
        self.data.bad.report()
        return [path]

    def _write_model(self, folder: Path, averaged: dict[str, Tensor], steps: int) -> Path:
        config = self.config
        weights = {
            name.removeprefix("dit."): value
            for name, value in averaged.items()
            if name.startswith("dit.")
        }
        if config.base_model:
            weights = delta_of(weights, self.files.base())
        facts = provenance(config, steps)
        info = metadata(self.files.plan.config, "SAMA", config.height * config.width, **facts)
        path = folder / (DELTA if config.base_model else FULL)
        write_weights(path, weights, info, _choose_dtype(config))
        return path


def _choose_dtype(config: TrainConfig) -> torch.dtype:
    return torch.bfloat16 if config.precision == "bf16" else torch.float32


def _choose_first_dtype(config: TrainConfig, processes: int) -> torch.dtype | None:
    """Of the model's matrices. Small steps are lost on 16-bit weights; those that a LoRA leaves
    alone take none.

    None leaves them in the file's pages, and `shard` widens them block by block: else each process
    of a node would hold a whole float32 copy in its RAM.
    """
    if config.lora_rank:
        return _choose_dtype(config)
    return None if is_wished(config.shard) and processes > 1 else torch.float32


def _check_features(features: RowFeatures, rows: Sequence[Row]) -> None:
    """ConfigError where the disk lacks room for a teacher's features, or no row has any and there
    is no teacher to make them.
    """
    refuse_full_disks([*list_room(features.config), room_of_features(features, rows)])
    aligned = [row for row in rows if features.applies_to(row)]
    if features.makes or not aligned or any(has_features(features, row) for row in aligned):
        return
    got = f"{features.folder}, with features of none of {len(aligned)} rows"
    fix = "Set align.teacher, or fill the folder with the task features."
    raise ConfigError(needed("align.features", got, "those of the rows", fix))
