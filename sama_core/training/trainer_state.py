"""What a trainer saves and goes on from, whole or sharded.

whole     get_optimizer_state_dict ──▶ state.pt, by the main process
sharded   the tensors as they lie ──▶ torch.distributed.checkpoint, each process its part
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)

from ..errors import needed
from .checkpoints import Checkpoints, load_parts
from .optim.optimisation import copy_whole, whole
from .outputs import StateError
from .recipe import ConfigError, list_changes, plain_settings, refuse_changes

if TYPE_CHECKING:
    from .trainer import Trainer

_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)
_WRAPPINGS = ("module", "_checkpoint_wrapped_module", "_orig_mod")
ROWS, ROW_WEIGHTS, START = "rows", "weights of rows", "first weights"
"""Keys of the digests of the rows, of how often they come, and of the files of a model that is
trained whole, among the facts of a checkpoint."""
PLACES = {
    "data": (ROWS,),
    "model": ("model", START),
    "base_model": ("base_model", START),
    "vae": ("vae",),
    "text_encoder": ("text_encoder",),
    "semantic_encoder": ("semantic_encoder",),
    "align.teacher": ("teacher",),
    "align.saliency_model": ("teacher",),
}
"""Settings that say where something lies, and the keys of digests of what it is: what was moved, or
has another name, is the same.
"""


class TrainerState:
    """Saves and restores a trainer."""

    def __init__(self, trainer: "Trainer", digests: dict[str, str]):
        """`digests`: digests by name, see `Trainer`."""
        self.trainer, self.digests = trainer, digests
        self.files = Checkpoints(trainer.folder, trainer.config.keep_checkpoints)
        self.changed: list[str] = []
        """Settings that this run changed when it resumed."""

    # --- save ------------------------------------------------------------------------------------

    def save(self, write: Callable[[dict[str, Tensor], int, Path], Any] | None = None) -> None:
        """Write a checkpoint. Where numbered ones are kept, `write` puts the weights beside it."""
        trainer = self.trainer
        main, facts = trainer.accelerator.is_main_process, self._facts()
        if trainer.sharded:
            self.files.write_parts(facts, self._parts(), main)
        elif main:
            self.files.write_whole({**facts, **self._whole()})
        if self.files.keep and write is not None:
            averaged = trainer.average()
            if main:
                write(averaged, trainer.step, self.files.folder_of(trainer.step))
        if main:
            self.files.prune(trainer.sharded, trainer.step)
        trainer.accelerator.wait_for_everyone()

    def _facts(self) -> dict[str, Any]:
        """What is no tensor."""
        trainer = self.trainer
        return {
            "step": trainer.step,
            "config": plain_settings(trainer.config),
            "digests": self.digests,
            "smooth": list(trainer.meter.state),
        }

    def _whole(self) -> dict[str, Any]:
        """All tensors of a run that is not sharded, on the CPU."""
        trainer = self.trainer
        return {
            "model": {name: whole(weight) for name, weight in self._list_trained()},
            "optimizers": [
                get_optimizer_state_dict(trainer.trainee, optimizer, options=_WHOLE)
                for optimizer in trainer.optimisation.optimizers
            ],
            "ema": {
                name: whole(value)
                for name, value in trainer.optimisation.average.state_dict().items()
            },
        }

    def _parts(self) -> dict[str, Tensor]:
        """The tensors themselves by name, as they lie: what is written or loaded in parts."""
        trainer = self.trainer
        named = {id(weight): name for name, weight in self._list_trained()}
        found = {f"model.{name}": weight.detach() for name, weight in self._list_trained()}
        for name, value in trainer.optimisation.average.state_dict().items():
            found[f"ema.{name}"] = value
        for optimizer in trainer.optimisation.optimizers:
            get_optimizer_state_dict(trainer.trainee, optimizer)  # makes the state before a step
            for weight, values in optimizer.state.items():
                for key, value in values.items():
                    found[f"optimizer.{named[id(weight)]}.{key}"] = value
        return found

    def _list_trained(self) -> list[tuple[str, nn.Parameter]]:
        return [
            (own_name(name), weight)
            for name, weight in self.trainer.trainee.named_parameters()
            if weight.requires_grad
        ]

    # --- resume ----------------------------------------------------------------------------------

    def resume(self) -> None:
        """Go on from the newest checkpoint, if there is one.

        Raises ConfigError for one of other settings or data, StateError for a damaged one.
        """
        found, trainer = self.files.newest(), self.trainer
        if found is None:
            return
        config, digests = trainer.config, found.get("digests", {})
        free = config.FREE_TO_CHANGE | self._list_moved(found["config"], digests)
        refuse_changes(found["config"], config, free)
        self._refuse_other_optimisers(found["config"].get("muon_rate", 0.0))
        self.changed = list_changes(found["config"], config, free)
        self._refuse_other_data(digests)
        if "path" in found:
            load_parts(found["path"], self._parts())
        else:
            self._load_whole(found)
        trainer.meter.state = tuple(found.get("smooth", (0.0, 0.0)))
        trainer.step = found["step"]

    def _load_whole(self, state: Mapping[str, Any]) -> None:
        trainer = self.trainer
        self._check_weights(state["model"])
        for name, weight in self._list_trained():
            copy_whole(state["model"][name], weight.detach())
        options = StateDictOptions(full_state_dict=True)
        for optimizer, saved in zip(
            trainer.optimisation.optimizers, state["optimizers"], strict=True
        ):
            for group in saved["param_groups"]:
                group.pop("base_lr", None)  # of version 0.1.0; the rates come from the settings
            set_optimizer_state_dict(trainer.trainee, optimizer, saved, options=options)
        trainer.optimisation.average.load_state_dict(state["ema"])

    def _refuse_other_optimisers(self, before: float) -> None:
        """ConfigError where Muon, which the checkpoint had or had not, comes or goes: its rate may
        change, but the state of AdamW is none for it.
        """
        now = self.trainer.config.muon_rate
        if bool(before) != bool(now):
            need = "more than 0, as before" if before else "0, as before"
            fix = "Change it back, or choose a new output folder."
            raise ConfigError(needed("resume", f"muon_rate {before:g} → {now:g}", need, fix))

    def _list_moved(self, config: Mapping[str, Any], before: Mapping[str, str]) -> set[str]:
        """Settings whose files lie elsewhere than the checkpoint says, and are the same.

        ConfigError for one whose files are others. Of checkpoints that do not know it, none is.
        """
        moved = set()
        for change in list_changes(dict(config), self.trainer.config, PLACES):
            setting = change.split(" ", 1)[0]
            if setting == "data" and self.trainer.config.new_rows:
                moved.add(setting)
                continue
            known = [key for key in PLACES[setting] if key in before and key in self.digests]
            if any(before[key] != self.digests[key] for key in known):
                what = _name_content(setting, self.trainer.config)
                need = f"the {what} of the checkpoint, wherever it lies"
                fix = "Set it back, or choose a new output folder."
                if setting == "data":
                    fix += " To go on with these rows, set new_rows to true."
                raise ConfigError(needed("resume", f"{change}, another {what}", need, fix))
            moved.update([setting] if known else [])
        return moved

    def _refuse_other_data(self, before: Mapping[str, str]) -> None:
        """ConfigError where the rows, or a file below a LoRA, are not those of the checkpoint."""
        for name, now in self.digests.items():
            if name == START or before.get(name, now) == now:  # all weights are the checkpoint's
                continue
            fix = f"Bring back the {name} of before, or choose a new output folder."
            if name in (ROWS, ROW_WEIGHTS):
                if self.trainer.config.new_rows:
                    self.changed.append(f"other {name}")
                    continue
                fix += " To go on with these rows, set new_rows to true."
            raise ConfigError(needed("resume", f"changed {name}", "those of the checkpoint", fix))

    def _check_weights(self, saved: Mapping[str, Tensor]) -> None:
        """StateError unless a checkpoint holds all that is trained, in the same form."""
        for name, weight in self._list_trained():
            shape = tuple(saved[name].shape) if name in saved else None
            if shape == tuple(weight.shape):
                continue
            got = f"{name} of shape {shape}" if shape else f"no {name}"
            need, fix = f"shape {tuple(weight.shape)}", "Choose a new output folder."
            if name.startswith("aligner."):
                need = f"the projector of [align], {need}"
                fix = "Use the teacher that it was made with, or choose a new output folder."
            raise StateError(needed("checkpoint", got, need, fix))


def _name_content(setting: str, config: Any) -> str:
    """What a setting's files are, for a message."""
    named = {"data": "set of rows", "model": "model", "base_model": "base model", "vae": "VAE"}
    if setting in ("align.teacher", "align.saliency_model"):
        learned = config.align is not None and config.align.saliency == "learned"
        return "teacher or learned saliency" if learned else "teacher"
    return named.get(setting, setting.replace("_", " "))


def read_averages(facts: Mapping[str, Any], trainee: nn.Module) -> dict[str, Tensor]:
    """The averages of a sharded run's checkpoint, whole, for a trainee in one process."""
    found = {
        own_name(name): weight.detach().float().clone()
        for name, weight in trainee.named_parameters()
        if weight.requires_grad
    }
    load_parts(facts["path"], {f"ema.{name}": value for name, value in found.items()})
    return found


def own_name(name: str) -> str:
    """A parameter's name without what DDP, checkpointing and compilation put into it."""
    return ".".join(part for part in name.split(".") if part not in _WRAPPINGS)
