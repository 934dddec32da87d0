"""The law of an alignment's memory against bytes that are counted while a step runs."""

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch

from benchmarks.align_memory import HALF, IN_RAM, Point, count_point
from benchmarks.live_bytes import LiveBytes
from benchmarks.train_memory import make_settings
from sama_core.geometry import ClipShape
from sama_core.model.config import DitConfig
from sama_core.model.dit import SamaDiT
from sama_core.plan.train_request import HEADROOM, TrainRequest
from sama_core.training.alignment import ARMS
from sama_core.training.alignment.teacher_targets import list_forms
from sama_core.training.config import TrainConfig
from sama_core.training.memory.plan_align import TeacherFeatures, align_shapes
from sama_core.training.objective import SamaObjective, TrainBatch
from sama_core.training.objectives.noising import stream
from sama_core.training.trainee import Trainee

CLIP = ClipShape(9, 320, 512)
MODEL = DitConfig(
    dim=512, num_heads=4, ffn_dim=2048, num_layers=4, text_dim=32, freq_dim=64, in_dim=16,
    out_dim=16, semantic_dim=24, semantic_hidden=32,
)  # fmt: skip


@pytest.mark.parametrize(
    "point",
    [
        Point("sara_changed", CLIP, (5, 1408), HALF, 32),
        Point("trd", CLIP, (5, 1408), {}),
        Point("sam2videox", CLIP, (9, 256), IN_RAM),
        Point("sam2videox_separate", CLIP, (9, 256), HALF),
    ],
    ids=lambda point: point.method,
)
def test_the_law_is_within_ten_percent(point):
    found = count_point(point)
    assert abs(found["error"]) < 0.1, found


@pytest.mark.parametrize(
    ("method", "features", "clip"),
    [
        ("sara_changed", (9, 1408), ClipShape(17, 128, 192)),
        ("sam2videox", (9, 256), ClipShape(9, 64, 96)),
    ],
)
def test_a_real_step_of_a_small_model_takes_what_the_law_says(method, features, clip):
    """In float32, with real tensors: what the step with the alignment takes more than without."""
    align = replace(ARMS[method], block=2)
    settings = replace(make_settings(clip, {}, rank=2), precision="no")
    alone, aligned = (_count_real_step(replace(settings, align=one), features, clip)
                      for one in (None, align))  # fmt: skip
    shapes = align_shapes(settings, align, MODEL, TeacherFeatures(*features))
    request = TrainRequest(clip, MODEL, checkpointing=True, bf16=False, align=shapes)
    computed = request.align_activations / HEADROOM
    assert aligned - alone == pytest.approx(computed, rel=0.02)


def _count_real_step(settings: TrainConfig, features: tuple[int, int], clip: ClipShape) -> int:
    """The most bytes of live tensors in a step whose weights have gradients already."""
    torch.manual_seed(0)
    trainee = Trainee(SamaDiT(MODEL), None, settings, features[1])
    video = torch.randn(1, 16, *clip.latent().grid()[:1], clip.height // 8, clip.width // 8)
    teacher = None
    if settings.align:
        forms = list_forms(settings.align, trainee.aligner.cells, *features)
        teacher = {name: torch.randn(1, *form) for name, form in forms.items()}
    text, semantic = torch.randn(1, 16, MODEL.text_dim), torch.randn(1, 65, MODEL.semantic_dim)
    batch = TrainBatch(video, video + 1, text, semantic, ["noise"], teacher)
    objective = SamaObjective(settings, trainee.aligner)
    live = LiveBytes()
    for watched in (nullcontext(), live):
        with watched:
            objective(trainee, batch, [stream("noise")]).total.sum().backward()
    return live.peak
