"""What a training lacks, all of it at once and in seconds, before a weight is read.

    files      model, base model, VAE, umT5, SigLIP, teacher: where each comes from, where it goes
    data       the rows, and those of their clips that are missing
    machine    packages, and room on the disk

One lack is raised as the error that it is; several become one, with a line for each.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryFile

from ...convert.formats import FORMATS
from ...errors import CheckpointError, RuntimeSetupError, SamaError, needed
from ...released_files import DIFFUSION_MODEL, MODEL_FILES, TEXT_ENCODER, VAE
from ..alignment.teachers import TeacherSource
from ..config import TrainConfig
from ..packages import ALWAYS, list_absent, say_absent
from ..recipe import ConfigError
from ..semantics.encoder import find_siglip
from ..tracking import check_installed
from .room import GIGABYTE, list_room, refuse_full_disks
from .rows import RowError, read_rows

Check = Callable[[TrainConfig], None]


class PreflightError(SamaError):
    """Several things are missing."""


def refuse_missing(config: TrainConfig, saves: bool = True) -> None:
    """Raises the error of what is missing, or PreflightError with a line for each.

    `saves`: whether the work writes checkpoints, for which there must be room.
    """
    found = _find(config, [one for one in CHECKS if saves or one is not _check_room])
    if len(found) == 1:
        raise found[0]
    if found:
        lines = "\n".join(f"  {number}. {one}" for number, one in enumerate(found, 1))
        raise PreflightError(f"{len(found)} things are missing for this training:\n{lines}")


def list_missing(config: TrainConfig) -> list[str]:
    """What is missing, a sentence for each; the rows' own clips aside."""
    return [str(one) for one in _find(config, CHECKS) if not isinstance(one, RowError)]


def _find(config: TrainConfig, checks: Iterable[Check]) -> list[SamaError]:
    found: list[SamaError] = []
    for check in checks:
        try:
            check(config)
        except SamaError as lacks:
            found.append(lacks)
    return found


# --- files ---------------------------------------------------------------------------------------


def _check_model(config: TrainConfig) -> None:
    if config.model == "shapes":
        _refuse_empty("model", config.model, "the path of a SAMA or Wan 2.1 file")
    _check_file("model", config.model, DIFFUSION_MODEL, folders=True)


def _check_base_model(config: TrainConfig) -> None:
    if config.base_model and not Path(config.base_model).exists():
        fix = "Set base_model to the Wan 2.1 T2V 14B that the delta file lies over."
        got = "no such file or folder"
        raise CheckpointError(needed(f"base_model {config.base_model}", got, "Wan's shards", fix))


def _check_vae(config: TrainConfig) -> None:
    if not config.vae:
        _refuse_empty("vae", config.vae, "the path of the model's Wan 2.1 VAE")
    _check_file("vae", config.vae, VAE)


def _check_text_encoder(config: TrainConfig) -> None:
    if not config.text_encoder:
        _refuse_empty("text_encoder", config.text_encoder, "the path of umT5")
    _check_file("text_encoder", config.text_encoder, TEXT_ENCODER)


def _refuse_empty(name: str, got: str, need: str) -> None:
    source = _where(name)
    raise ConfigError(
        needed(name, repr(got), f"{need} for data of your own", f"Set it in the recipe. {source}")
    )


def _check_file(name: str, value: str, role: str, folders: bool = False) -> None:
    path = Path(value)
    if path.is_file() or (folders and path.is_dir()):
        return
    made = next((form for form in FORMATS if path.stem.endswith(f"_{form}")), None)
    convert = f" python3 run.py convert FILE --format {made} makes this one of it." if made else ""
    fix = f"Set {name} in the recipe. {_where(name)}{convert}"
    raise CheckpointError(needed(f"{name} {value}", "no file", "a weight file", fix))


def _where(name: str) -> str:
    """Source, size and folder of the public file for a setting."""
    role = {"model": DIFFUSION_MODEL, "vae": VAE, "text_encoder": TEXT_ENCODER}[name]
    files = [file for file in MODEL_FILES if file.role == role]
    texts = [
        f"{file.filename}, {file.size / GIGABYTE:.2g} GB, for models/{file.folder}: {file.url}"
        for file in files
    ]
    return f"Published: {'; or '.join(texts)}. python3 run.py models --download fetches it."


def _check_start(config: TrainConfig) -> None:
    if config.init and not Path(config.init).is_file():
        fix = "Set init to the file of a LoRA, or leave it out."
        raise CheckpointError(needed(f"init {config.init}", "no file", "a LoRA file", fix))


def _check_held_out(config: TrainConfig) -> None:
    rows = config.validation.rows if config.validation else 0
    if isinstance(rows, str) and not Path(rows).exists():
        fix = "Set it to a file of rows, to a number of rows, or to their lines."
        raise ConfigError(needed("validation.rows", f"no file {rows}", "a file of rows", fix))


def _check_trackers(config: TrainConfig) -> None:
    check_installed(config.track)


def _check_semantic(config: TrainConfig) -> None:
    if config.semantic_encoder != "pixels":
        find_siglip(config.semantic_encoder)


def _check_teacher(config: TrainConfig) -> None:
    if config.align is not None and config.align.teacher and config.align.needs_teacher:
        TeacherSource.of(config.align.teacher).check()


# --- data ----------------------------------------------------------------------------------------


def _check_rows(config: TrainConfig) -> None:
    """RowError without a usable row; other bad rows are reported when they are read."""
    rows, wrong = read_rows(Path(config.data), config.stage)
    if not rows:
        first = next(iter(wrong.values()), "")
        got = f"no good row among {len(wrong)}"
        name = Path(config.data).name
        fix = f"Correct the rows. {first}".strip()
        raise RowError(needed(f"data {name}", got, "at least one", fix))


# --- machine -------------------------------------------------------------------------------------


def _check_packages(config: TrainConfig) -> None:
    absent = list_absent([*ALWAYS, *_packages(config)])
    if absent:
        raise RuntimeSetupError(say_absent(absent))


def _packages(config: TrainConfig) -> Iterator[str]:
    """What these settings import later, beside what every run needs."""
    if config.semantic_encoder != "pixels" or (config.align and config.align.teacher):
        yield "transformers"
    if config.lora_rank:
        yield "peft"


def _check_output(config: TrainConfig) -> None:
    """ConfigError where the output folder is none, or cannot be written to."""
    if not config.output:
        fix = "Set output to a folder of your own: all that the run makes is kept there."
        raise ConfigError(needed("output", "nothing", "a folder", fix))
    refuse_unwritable("output", config.output)


def _check_features(config: TrainConfig) -> None:
    align = config.align
    if align is not None and align.features and (align.teacher or not align.needs_teacher):
        refuse_unwritable("align.features", align.features)


def refuse_unwritable(setting: str, path: str) -> None:
    """ConfigError where a setting's folder cannot be made, or not be written to."""
    folder = Path(path).resolve()
    there = next(one for one in (folder, *folder.parents) if one.exists())
    try:
        with TemporaryFile(dir=there):
            pass
    except OSError as failed:
        got = f"{there}, {failed.strerror}"
        fix = f"Set {setting} to a folder of your own, or change its rights."
        raise ConfigError(needed(setting, got, "a folder to write to", fix)) from failed


def _check_room(config: TrainConfig) -> None:
    refuse_full_disks(list_room(config))


CHECKS: tuple[Check, ...] = (
    _check_model,
    _check_base_model,
    _check_vae,
    _check_text_encoder,
    _check_start,
    _check_held_out,
    _check_trackers,
    _check_semantic,
    _check_teacher,
    _check_rows,
    _check_packages,
    _check_output,
    _check_features,
    _check_room,
)
"""In the order in which they are told."""
