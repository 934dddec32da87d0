"""A recipe's alignment as its plan counts it: shapes of projector, teacher's targets, and loss.

The teacher's folder says how wide its features are; where it is not here, the features that are
kept do, or else a published model of its kind. No weights are read.
"""

from math import prod
from pathlib import Path
from typing import NamedTuple

import torch

from ...errors import SamaError
from ...model.config import DitConfig
from ...plan.align_law import MARGIN_AT_WORK, OR_AT_WORK, PAIRS_AT_WORK, AlignShapes
from ...weights.header import read_header
from ..alignment import AlignConfig, Aligner
from ..alignment.cache import list_facts
from ..alignment.projector import RELATION_WIDTHS, TRACKING_WIDTHS, Projector
from ..alignment.teacher_targets import list_forms
from ..alignment.teachers import TeacherSource
from ..config import TrainConfig
from ..model_folder import find_folder

PUBLISHED = {"vjepa2": (1408, 2), "videomae": (1024, 2), "sam2": (256, 1)}
"""Of a teacher that is not here: channels of a feature of a large one, and frames in one."""
OTHERS = (1152, 1)
NO_TEACHER = "Teacher {} is not here: planned for features of {} channels."
FLOAT = 4
"""Bytes of a weight of a teacher, which is loaded in float32."""


class TeacherFeatures(NamedTuple):
    """What is known of a teacher's features without its weights."""

    slices: int
    """Frames of features of a clip."""
    width: int
    """Channels."""
    teacher: int = 0
    """Bytes of its weights in memory; 0 where they are not known."""
    note: str = ""
    """What is assumed."""


def align_shapes(
    config: TrainConfig, align: AlignConfig, model: DitConfig, features: TeacherFeatures
) -> AlignShapes:
    """The alignment `align` of a recipe that trains a model.

    Raises ConfigError for a block that the model has not.
    """
    size = (config.height, config.width)
    with torch.device("meta"):
        made = Aligner.for_model(align, model, size, features.width, config.seed)
    projector = made.projectors[0]
    assert isinstance(projector, Projector)
    own = align.relation == "flow" or align.distance == "bce"
    compared = align.width if own else features.width
    height, width = made.cells
    grid = (side // model.lattice.side_multiple for side in size)
    forms = list_forms(align, (height, width), features.slices, features.width)
    return AlignShapes(
        weights=sum(weight.numel() for weight in made.parameters()),
        widths=tuple(align.hidden or (TRACKING_WIDTHS if projector.tracking else RELATION_WIDTHS)),
        out=compared * projector.spread**2,
        cells=height * width,
        slices=features.slices,
        width=compared,
        targets=sum(map(prod, forms.values())),
        resampled=(height, width) != tuple(projector.spread * side for side in grid),
        tracks=projector.tracking,
        projectors=len(made.projectors),
        relation=align.relation,
        window=align.window,
        pair_rows=_count_pair_rows(align),
        teacher=features.teacher,
    )


def read_features(config: TrainConfig, align: AlignConfig) -> TeacherFeatures:
    """What the teacher of a recipe gives a clip. Reads settings and headers alone."""
    frames = config.frames
    if not align.needs_teacher:
        return TeacherFeatures(frames, 0)
    kind, _, path = align.teacher.partition(":")
    if path and find_folder(path) is not None:
        try:
            source = TeacherSource.of(align.teacher)
            return TeacherFeatures(source.count_slices(frames), source.width, _count_bytes(path))
        except SamaError:  # told by the training itself
            pass
    for facts in list_facts(Path(align.features or Path(config.output) / "features")):
        if _is_of(facts.get("parts"), config, align) and (not kind or _kind_of(facts) == kind):
            return TeacherFeatures(int(facts["slices"]), int(facts["width"]))
    width, step = PUBLISHED.get(kind, OTHERS)
    slices = 8 if kind == "videomae" else -(-frames // step)
    note = NO_TEACHER.format(align.teacher or "of [align]", width)
    return TeacherFeatures(slices, width, note=note)


def _count_pair_rows(align: AlignConfig) -> float:
    """See `AlignShapes.pair_rows`."""
    if align.margin:
        return MARGIN_AT_WORK
    routers = (align.router, align.temporal_router) if align.saliency != "none" else ()
    return OR_AT_WORK if "or" in routers else PAIRS_AT_WORK


def _is_of(parts: object, config: TrainConfig, align: AlignConfig) -> bool:
    """Whether features are of clips of these settings, as `RowFeatures` names them."""
    own = [str((config.height, config.width)), str(config.frames), align.targets_key()]
    return isinstance(parts, list) and parts[:3] == own


def _kind_of(facts: dict[str, object]) -> str:
    return str(facts.get("teacher", "")).partition(":")[0]


def _count_bytes(path: str) -> int:
    """Bytes of a teacher's weights in memory; 0 where its files do not tell."""
    folder = find_folder(path)
    try:
        files = sorted(folder.glob("*.safetensors")) if folder else []
        shapes = [read_header(file, own_names=False).shapes for file in files]
    except (SamaError, OSError):
        return 0
    return FLOAT * sum(prod(shape) for one in shapes for shape in one.values())
