"""What SAMA-Shapes is aligned with, and training it so."""

import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from sama_core import embedded
from sama_core.errors import RuntimeSetupError
from sama_core.shapes.config import load_config
from sama_core.shapes.learned_saliency import LearnedSaliency
from sama_core.shapes.tracker import Tracker
from sama_core.shapes.training.shapes_run import ShapesRun
from sama_core.shapes.training.teacher_samples import (
    Pairs,
    SceneTeacher,
    plan_clips,
    plan_edits,
)
from sama_core.shapes.world import EditSampler, apply, generator_for, render, sample_scenes
from sama_core.shapes.world.visibility import named_masks, subject_masks
from sama_core.training.alignment import ARMS, AlignConfig
from sama_core.training.recipe import ConfigError
from sama_core.training.run import train
from sama_core.training.trainer import Trainer

SCENE = AlignConfig(teacher="scene")


def sampler(kind: str, frames: int = 5) -> EditSampler:
    return EditSampler(0, "train", [kind], frames=frames)


def targets(
    config: AlignConfig, kind: str = "recolour", frames: int = 5
) -> dict[str, torch.Tensor]:
    plan = plan_edits(sampler(kind, frames))
    return SceneTeacher(config, frames, 64, 64).samples(plan, 3, 0)


def test_forms_of_the_targets():
    """Pairs see one frame of each latent frame, a flow every frame; cells are the setting's."""
    assert {name: tuple(value.shape) for name, value in targets(SCENE).items()} == {
        "features": (3, 2, 4, 4, 288)
    }
    flow = AlignConfig(relation="flow", distance="kl", teacher="scene", cell=4, saliency="named")
    assert {name: tuple(value.shape) for name, value in targets(flow).items()} == {
        "flow": (3, 4, 16, 16, 49),
        "saliency": (3, 5, 16, 16),
    }


@pytest.mark.parametrize("name", ["sam2videox_without_flow", "mask_supervision"])
def test_rows_of_sam2videox_without_a_flow_see_every_frame_too(name):
    config = replace(ARMS[name], teacher="scene", cell=4, saliency="named")
    made = targets(config)
    assert made["features"].shape == (3, 5, 16, 16, 288)
    assert made["saliency"].shape == (3, 5, 16, 16)


def test_a_teacher_sees_the_target_and_the_same_every_time():
    source = sampler("recolour").plan(0, 3)[0]
    plain = SceneTeacher(SCENE, 5, 64, 64).samples(lambda *_: Pairs(source, source), 3, 0)
    assert torch.equal(targets(SCENE)["features"], targets(SCENE)["features"])
    assert torch.equal(plain["features"], targets(SCENE)["features"])  # a colour is no place
    moved = targets(SCENE, "replace")["features"]
    source = sampler("replace").plan(0, 3)[0]
    plain = SceneTeacher(SCENE, 5, 64, 64).samples(lambda *_: Pairs(source, source), 3, 0)
    assert not torch.equal(plain["features"], moved)


@pytest.mark.parametrize("kind", ["recolour", "remove", "replace", "background", "style", "add"])
def test_what_is_named_is_where_the_pictures_differ(kind):
    """No pixel that changes lies outside of what the text names, but for the rim of shapes."""
    one = sampler(kind)
    source, edits, _ = one.plan(1, 8)
    target = apply(source, edits)
    named = named_masks(source, target, edits, 5, 64, 64)
    differs = (render(source, 5) - render(target, 5)).abs().amax(-1) > 0.05
    assert differs.any()
    assert (named[differs] > 0).float().mean() > 0.98
    if kind == "style":
        assert (named == 1).all()
    elif kind != "background":
        assert 0.005 < named.mean() < 0.3


def test_clips_without_an_edit_name_all_objects():
    scenes = sample_scenes(generator_for(0, "train", 0), 4, 5)
    masks = named_masks(scenes, scenes, None, 5, 64, 64)
    upper = subject_masks(scenes, 5, 64, 64)
    assert (masks >= upper).all() and (upper.flatten(1).sum(1) > 0).all()


def test_changed_cells_of_an_edit_lie_on_the_named_object():
    found = {
        name: targets(replace(SCENE, saliency=name))["saliency"] for name in ("changed", "named")
    }
    assert found["changed"].shape == found["named"].shape == (3, 2, 4, 4)
    assert (found["changed"] - found["named"]).abs().max() < 0.15


def test_a_trackers_two_directions_become_one_flow(tmp_path):
    path = tmp_path / "tracker.safetensors"
    torch.manual_seed(0)
    save_file(Tracker().state_dict(), path)
    config = replace(ARMS["sam2videox"], teacher=f"tracker:{path}", cell=4)
    plan = plan_clips(
        lambda number, size: sample_scenes(generator_for(0, "train", number), size, 5)
    )
    both = SceneTeacher(config, 5, 64, 64).samples(plan, 2, 0)["flow"]
    forward = SceneTeacher(replace(config, fusion="forward"), 5, 64, 64).samples(plan, 2, 0)["flow"]
    assert both.shape == forward.shape == (2, 4, 16, 16, 49)
    assert not torch.equal(both, forward)
    assert torch.equal(both[:, -1], forward[:, -1])  # beside the last frame, the forward pass alone


def test_the_key_names_all_that_targets_depend_on(tmp_path):
    def key(**settings) -> str:
        return SceneTeacher(replace(SCENE, **settings), 5, 64, 64).key

    assert key() == key(weight=0.1, rate=1e-3, router="xor", block=2, sigma=(0.5, 1.0))
    assert len({key(), key(cell=8), key(saliency="named"), key(saliency="changed")}) == 4
    paths = [tmp_path / name for name in ("one", "other")]
    for seed, path in enumerate(paths):
        torch.manual_seed(seed)
        save_file(Tracker().state_dict(), path)
    assert key(teacher=f"tracker:{paths[0]}") != key(teacher=f"tracker:{paths[1]}")


def test_a_learned_saliency_needs_its_model_and_a_text(tmp_path):
    learned = replace(SCENE, saliency="learned")
    with pytest.raises(ConfigError, match="align.saliency_model.*none"):
        targets(learned)
    path = tmp_path / "saliency.safetensors"
    torch.manual_seed(0)
    save_file(LearnedSaliency(128).state_dict(), path)
    found = targets(replace(learned, saliency_model=str(path)))
    assert found["saliency"].shape == (3, 2, 4, 4)
    plan = plan_clips(
        lambda number, size: sample_scenes(generator_for(0, "train", number), size, 5)
    )
    with pytest.raises(ConfigError, match="without an edit.*stage 1"):
        SceneTeacher(replace(learned, saliency_model=str(path)), 5, 64, 64).samples(plan, 2, 0)


@pytest.mark.parametrize("teacher", ["", "sam2:folder", "tracker:", "tracker:nowhere"])
def test_teachers_of_another_world_are_refused(teacher):
    with pytest.raises(RuntimeSetupError, match="teacher|tracker"):
        SceneTeacher(replace(SCENE, teacher=teacher), 5, 64, 64)


SMALL = {
    "stage": 1, "steps": 2, "batch_size": 2, "image_batch_size": 2, "frames": 5, "image_pairs": 0,
    "clip_pairs": 0, "image_share": 0.5, "semantic_share": 0.5, "seed": 3, "log_every": 1,
    "reading_weight": 0.0, "init": "",
}  # fmt: skip


def shapes_run(folder, **settings) -> ShapesRun:
    values = {**SMALL, "output": str(folder), "pool": str(folder / "pool"), **settings}
    return ShapesRun.of(load_config("shapes_stage0.toml", **values))


@pytest.mark.parametrize("name", ["sara_changed", "sam2videox"])
def test_a_run_writes_files_without_the_projector(tmp_path, name):
    align = {"method": name, "teacher": "scene", "cell": 8, "width": 16}
    if name == "sam2videox":
        align["fusion"] = "features"  # of a teacher without a direction in time
    train(shapes_run(tmp_path / "aligned", align=align))
    state = torch.load(tmp_path / "aligned" / "state.pt", weights_only=True)
    inside = {key for key in state["model"] if key.startswith("aligner.")}
    assert inside and inside <= set(state["ema"])
    plain = shapes_run(tmp_path / "plain").trainee.state_dict()
    written = load_file(tmp_path / "aligned" / "weights.safetensors")
    assert set(written) == {*plain, "spiece_model"}
    dit = load_file(tmp_path / "aligned" / embedded.DIT.name)
    assert {f"dit.{key}" for key in dit} == {key for key in plain if key.startswith("dit.")}


def test_pools_of_targets_stand_beside_those_of_samples(tmp_path, monkeypatch):
    monkeypatch.setattr("sama_core.shapes.training.sample_pools.IMAGE_SHARD", 4)
    monkeypatch.setattr("sama_core.shapes.training.sample_pools.CLIP_SHARD", 4)
    align = {"method": "sara_named", "teacher": "scene"}
    run = shapes_run(tmp_path, align=align, image_pairs=8, clip_pairs=4, image_share=0.0)
    assert len(run.data.pools()) == 4
    batch = run.data.batch(0, slice(0, 2))
    assert batch.teacher["features"].shape == (2, 2, 4, 4, 288)
    drawn = run.data._draw(run.data.clips, 0, 2)
    fresh = shapes_run(tmp_path, align=align, image_pairs=0, clip_pairs=0, image_share=0.0)
    made = fresh.data.teachers[fresh.data.clips].make(number=0, size=4)
    kept = drawn(run.data.teachers[run.data.clips])
    assert any(torch.equal(kept["features"][0], one) for one in made["features"])


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Files of an untrained tracker and an untrained saliency."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    for name, module in (("tracker", Tracker()), ("saliency", LearnedSaliency(128))):
        save_file(module.state_dict(), folder / f"{name}.safetensors")
    return folder


@pytest.mark.parametrize("name", ARMS)
def test_every_row_of_the_tables_trains_by_its_name(tmp_path, models, name):
    """One step on a clip and one on a picture, through recipe, data, trainer and files."""
    tracks = name.startswith("sam2videox")
    align = {
        "method": name, "teacher": f"tracker:{models}/tracker.safetensors" if tracks else "scene",
        "cell": 8, "width": 16, "hidden": [16, 16], "warmup": 1,
        "saliency_model": f"{models}/saliency.safetensors",
    }  # fmt: skip
    run = shapes_run(tmp_path, align=align, seed=2)
    assert [run.config.is_image_step(step) for step in (0, 1)].count(True) == 1
    trainer = Trainer(run.config, run.trainee, run.data, run.objective)
    before = {key: value.clone() for key, value in run.trainee.state_dict().items()}
    found = []
    for trainer.step in (0, 1):
        found.append(trainer.train_step())
    if ARMS[name] is None:
        assert run.config.align is None and "align" not in found[0]
        return
    picture = found[[run.config.is_image_step(step) for step in (0, 1)].index(True)]
    clip = found[1 - found.index(picture)]
    assert clip["align"] > 0 and math.isfinite(clip["align"])
    assert picture["align"] == 0 if ARMS[name].relation == "flow" else picture["align"] > 0
    after = run.trainee.state_dict()
    moved = [key for key in after if not torch.equal(after[key], before[key])]
    assert any(key.startswith("aligner.") for key in moved)
