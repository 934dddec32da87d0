"""An alignment on rows, end to end: what is trained with it, and the two recipes of LoRAs, whose
files change the edit in ComfyUI.
"""

import re
import shutil
import subprocess
from collections import namedtuple
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from shutil import copytree

import pytest
import torch
from safetensors.torch import load_file, save_file

from sama_core.training.__main__ import main
from sama_core.training.alignment import SaliencyAligner
from sama_core.training.config import load_config
from sama_core.training.rows.data import read_mask, read_usable_rows
from sama_core.training.rows.features import RowFeatures
from sama_core.training.rows.fill_features import fill_row
from sama_core.training.rows.first_weights import ModelFiles
from sama_core.training.rows.room import room_of_features
from sama_core.weights.names import SAMA_KEYS

from ..comfyui.graphs import CLIP_FILE, SMALL_AREA, Edit, SmallModels
from ..harness.imports import REPO_ROOT
from ..harness.moving_shapes import moving_shapes
from ..harness.untrained import write_untrained
from ..harness.write_clip import write_clip
from .processes import environment, python
from .rows_files import BLUE, RED, clip, jsonl, logged, models, pair, recipe, report, settings
from .stalled_run import LONGEST, kill_after_a_checkpoint

WHITE = (255, 255, 255)
METHODS = {"sara_changed": "vjepa2", "sam2videox": "sam2", "sara_named": "dinov3"}
HIDDEN = [32, 32, 32]


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    return load_file(models() / "diffusion_models" / "sama_untrained.safetensors")


@pytest.fixture
def wan(weights, tmp_path):
    """The same weights without SAMA's."""
    path = tmp_path / "wan.safetensors"
    save_file({name: value for name, value in weights.items() if name not in SAMA_KEYS}, path)
    return path


@pytest.fixture
def delta(weights, tmp_path):
    path = tmp_path / "delta.safetensors"
    save_file({name: weights[name] for name in SAMA_KEYS}, path)
    return path


@pytest.fixture
def folder(tmp_path):
    for name, colour in (("a", RED), ("b", BLUE), ("mask", WHITE)):
        clip(tmp_path / f"{name}.mp4", colour)
    return tmp_path


def train(folder, rows: list[dict], align: dict, **changes) -> int:
    data = jsonl(folder / "data.jsonl", rows)
    values = settings(data, folder / "out", steps=2, align=align, **changes)
    return main(["train", str(recipe(folder / "recipe.toml", values))])


def check_losses(folder):
    """Every row has features, and a loss beside the others'."""
    out = folder / "out"
    assert report(out) == []
    totals, aligned, flow = (logged(out, name) for name in ("total", "align", "flow"))
    assert len(totals) == 2 and all(loss > 0 for loss in aligned)
    assert all(total > one for total, one in zip(totals, flow, strict=True))


PAIR = {**pair("a.mp4", "b.mp4", "make it blue"), "mask": "mask.mp4"}
OTHER = {**pair("b.mp4", "a.mp4", "make it red"), "mask": "mask.mp4"}
CLIP = {"video": "a.mp4", "caption": "a red square", "mask": "mask.mp4"}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("lora_rank", [0, 2])
def test_pairs(folder, teachers, method, lora_rank):
    align = {"method": method, "teacher": teachers[METHODS[method]], "hidden": HIDDEN}
    assert train(folder, [PAIR], align, lora_rank=lora_rank) == 0
    check_losses(folder)
    [path] = (folder / "out").glob("*.safetensors")
    assert not [name for name in load_file(path) if "aligner" in name]


def test_a_delta_over_a_base(folder, teachers, wan, delta):
    align = {"method": "sara_changed", "teacher": teachers["vjepa2"], "hidden": HIDDEN}
    changes = {"model": str(delta), "base_model": str(wan)}
    assert train(folder, [PAIR], align, **changes) == 0
    check_losses(folder)
    found = load_file(folder / "out" / "sama_delta.safetensors")
    assert set(SAMA_KEYS) <= set(found) and not [name for name in found if "aligner" in name]


@pytest.mark.parametrize("semantic_weight", [0.1, 0.0])
@pytest.mark.parametrize("method", ["sam2videox", "sara_named"])
def test_clips_from_plain_wan(folder, teachers, wan, method, semantic_weight):
    """Stage 0: the teacher sees the clip itself, not what a pretext makes of it. Without semantic
    tokens too.
    """
    align = {"method": method, "teacher": teachers[METHODS[method]], "hidden": HIDDEN}
    changes = {"stage": 0, "model": str(wan), "semantic_weight": semantic_weight}
    assert train(folder, [CLIP], align, **changes) == 0
    check_losses(folder)
    assert [loss > 0 for loss in logged(folder / "out", "semantic")] == [semantic_weight > 0] * 2


# --- processes and checkpoints -------------------------------------------------------------------


@pytest.fixture
def one_thread():
    """As the processes that a test starts have: sums over another number of threads differ in their
    last bit.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def start(path, processes: int = 1) -> subprocess.Popen:
    """The command line with a recipe, in processes of one thread each."""
    return subprocess.Popen(
        [*python(processes), "-m", "sama_core.training", "train", str(path)], env=environment(),
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def write_run(folder, rows: list[dict], align: dict, output: str, **changes):
    """The recipe of a short run, whose features are those of the folder's other runs."""
    align = {**align, "hidden": HIDDEN, "warmup": 2, "features": str(folder / "features")}
    data = jsonl(folder / "data.jsonl", rows)
    values = settings(data, folder / output, steps=4, align=align, **changes)
    return recipe(folder / f"{output}.toml", values)


def train_here(path) -> None:
    assert main(["train", str(path)]) == 0


def test_two_processes_on_pairs_give_the_losses_of_one(folder, teachers, one_thread):
    """Within 1e-5; the two make the features themselves, and the one reads them."""
    align = {"method": "sara_changed", "teacher": teachers["vjepa2"]}
    running = start(write_run(folder, [PAIR, OTHER], align, "two"), processes=2)
    errors = running.communicate(timeout=LONGEST)[1]
    assert running.returncode == 0, errors[-3000:]
    train_here(write_run(folder, [PAIR, OTHER], align, "one"))
    for name in ("total", "align"):
        one, two = (logged(folder / output, name) for output in ("one", "two"))
        assert len(one) == 4 and all(loss > 0 for loss in one)
        assert two == pytest.approx(one, abs=1e-5)


def test_killed_and_resumed_on_clips(folder, teachers, one_thread):
    """SIGKILL after a checkpoint: log and LoRA are those of a run left alone, bit for bit."""
    align = {"method": "sam2videox", "teacher": teachers["sam2"]}
    changes = {"stage": 0, "lora_rank": 2}
    train_here(write_run(folder, [CLIP], align, "alone", **changes))
    path, killed = write_run(folder, [CLIP], align, "killed", **changes), folder / "killed"
    kill_after_a_checkpoint(path)
    assert len(logged(killed, "align")) == 2
    train_here(path)
    for name in ("total", "align"):
        assert logged(killed, name) == logged(folder / "alone", name)
    alone, found = (
        load_file(folder / name / "sama_lora.safetensors") for name in ("alone", "killed")
    )
    assert alone and all(torch.equal(value, found[name]) for name, value in alone.items())


def test_a_resume_with_another_teacher_is_refused(folder, teachers, capsys):
    """Other weights in the same folder, too: their features would stand for those of before."""
    align = {"method": "sara_changed", "teacher": f"vjepa2:{folder / 'teacher'}", "hidden": HIDDEN}
    mine = teachers["vjepa2"].partition(":")[2]
    copytree(mine, folder / "teacher")
    assert train(folder, [PAIR], align, lora_rank=2, checkpoint_every=1) == 0
    state = folder / "out" / "state.pt"
    before = state.read_bytes()
    weights = load_file(folder / "teacher" / "model.safetensors")
    path = folder / "teacher" / "model.safetensors"
    save_file({name: value + 1 for name, value in weights.items()}, path, {"format": "pt"})
    assert train(folder, [PAIR], align, lora_rank=2, checkpoint_every=1) == 1
    assert "resume: got changed teacher, needs those of the checkpoint" in capsys.readouterr().err
    assert state.read_bytes() == before


@pytest.mark.parametrize("lora_rank", [0, 2])
def test_a_run_goes_on_where_all_that_it_reads_was_moved(folder, teachers, lora_rank, capsys):
    """Rows, models, teacher, saliency and features have other names; what they are is the same."""
    old, new = folder / "old", folder / "new"
    for name in ("a.mp4", "b.mp4"):
        old.mkdir(exist_ok=True)
        (folder / name).rename(old / name)
    jsonl(old / "rows.jsonl", [PAIR, OTHER])
    copytree(teachers["vjepa2"].partition(":")[2], old / "teacher")
    save_file(SaliencyAligner(48, 64, hidden=16).state_dict(), old / "saliency.safetensors")
    values = settings(old / "rows.jsonl", folder / "out")
    files = {name: Path(values[name]) for name in ("model", "vae", "text_encoder")}
    for path in files.values():
        shutil.copy(path, old / path.name)

    def run(place, steps: int, **align) -> int:
        table = {
            "method": "sara", "teacher": f"vjepa2:{place / 'teacher'}", "hidden": HIDDEN,
            "features": str(place / "features"), "warmup": 2,
            "saliency_model": str(place / "saliency.safetensors"), **align,
        }  # fmt: skip
        changes = {name: str(place / path.name) for name, path in files.items()}
        values = settings(
            place / "rows.jsonl", folder / "out", align=table, steps=steps, lora_rank=lora_rank,
            **changes,
        )  # fmt: skip
        return main(["train", str(recipe(folder / "recipe.toml", values))])

    assert run(old, 2) == 0
    old.rename(new)
    kept = {path: path.stat().st_mtime_ns for path in new.rglob("features/*/*.safetensors")}
    assert run(new, 4) == 0
    assert len(logged(folder / "out", "align")) == 4 and len(kept) == 2
    assert kept == {path: path.stat().st_mtime_ns for path in kept}
    said = capsys.readouterr().out
    assert f"align.teacher 'vjepa2:{old}/teacher' → 'vjepa2:{new}/teacher'" in said
    weights = load_file(new / "teacher" / "model.safetensors")
    copytree(new / "teacher", new / "other")
    changed = {name: value + 1 for name, value in weights.items()}
    save_file(changed, new / "other" / "model.safetensors", {"format": "pt"})
    assert run(new, 6, teacher=f"vjepa2:{new / 'other'}") == 1
    words = f"→ 'vjepa2:{new}/other', another teacher or learned saliency, needs the teacher or"
    assert words in capsys.readouterr().err
    assert len(logged(folder / "out", "align")) == 4


def test_a_table_that_comes_or_goes_at_a_resume(folder, teachers, capsys):
    align = {"method": "sara_changed", "teacher": teachers["vjepa2"], "hidden": HIDDEN}
    assert train(folder, [PAIR], {"method": "sft"}, lora_rank=2) == 0
    assert train(folder, [PAIR], align, lora_rank=2) == 1
    assert "resume: got changed settings: align None → {…}, needs" in capsys.readouterr().err


@pytest.mark.parametrize("method", ["sam2videox", "sam2videox_forward"])
def test_one_frame_has_no_flow(folder, teachers, monkeypatch, capsys, method):
    """Told before the model is read, and not row by row."""
    monkeypatch.setattr(ModelFiles, "load", None)
    for kind in ("sam2", "dinov3"):
        align = {"method": method, "teacher": teachers[kind], "hidden": HIDDEN}
        assert train(folder, [PAIR], align, frames=1) == 1
        assert "frames: got 1, needs 5 or more for an alignment of" in capsys.readouterr().err


def test_a_block_that_the_model_lacks_is_told_before_its_weights_are_read(
    folder, teachers, monkeypatch, capsys
):
    monkeypatch.setattr(ModelFiles, "load", None)
    align = {"method": "sara_changed", "teacher": teachers["vjepa2"], "block": 9}
    assert train(folder, [PAIR], align) == 1
    assert "align.block: got 9, needs 1 to 2 for this model" in capsys.readouterr().err


def test_a_disk_without_room_for_features_is_told_first(folder, teachers, monkeypatch, capsys):
    """Made in training or ahead of it: 3 slices of 2x2 cells, 48 channels and a saliency, of 2
    bytes each, for each clip; what is kept already takes no room, nor does a second instruction.
    """
    align = {"method": "sara_changed", "teacher": teachers["vjepa2"], "hidden": HIDDEN}
    again = {**PAIR, "instruction": "say it in other words"}
    path = write_run(folder, [PAIR, OTHER, again], align, "out")
    config = load_config(path)
    features = RowFeatures(config, config.align, read_mask)
    rows, _ = read_usable_rows(config, features)
    one = 2 * 3 * 2 * 2 * (48 + 1)
    assert room_of_features(features, rows) == (folder / "features", 2 * one)
    fill_row(features, rows[0])
    assert room_of_features(features, rows) == (folder / "features", one)
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(one - 1))
    for task in ("features", "train"):
        assert main([task, str(path)]) == 1
        assert "disk: got 0.0 GB free at" in capsys.readouterr().err


def test_the_banner_tells_the_lora_from_the_projector(folder, teachers, capsys):
    align = {"method": "sara_changed", "teacher": teachers["vjepa2"], "hidden": HIDDEN}
    assert train(folder, [PAIR], align, lora_rank=2) == 0
    said = capsys.readouterr().out
    assert re.search(
        r"trained +LoRA of rank 2, 0\.02 M weights, and 0\.01 M of the projector", said
    )
    assert f"pairs behind block 1 with {teachers['vjepa2']}, saliency" in said


# --- the recipes of LoRAs ------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["structure", "edit"])
def lora(request, tmp_path_factory, teachers) -> dict[str, torch.Tensor]:
    """What training with the recipe's settings leaves, on a small model, clip and teacher."""
    folder = tmp_path_factory.mktemp(request.param)
    for name, colour in (("a", RED), ("b", BLUE)):
        clip(folder / f"{name}.mp4", colour)
    path = REPO_ROOT / "sama_core" / "training" / "recipes" / f"sama_14b_lora_{request.param}.toml"
    align = asdict(load_config(path).align)
    kind = align["teacher"].partition(":")[0]
    small = {"teacher": teachers[kind], "cell": 16, "warmup": 2, "hidden": HIDDEN}
    data = jsonl(folder / "data.jsonl", [pair("a.mp4", "b.mp4", "make it blue")])
    values = settings(
        data, folder / "out", steps=30, lora_rank=8, learning_rate=1e-2, ema=0.9,
        checkpoint_every=30, text_dropout=0.0, semantic_weight=load_config(path).semantic_weight,
        align={name: value for name, value in {**align, **small}.items() if value != float("inf")},
    )  # fmt: skip
    assert main(["train", str(recipe(folder / "recipe.toml", values))]) == 0
    aligned = logged(folder / "out", "align")
    assert sum(aligned[-5:]) < sum(aligned[:5])
    return load_file(folder / "out" / "sama_lora.safetensors")


def test_a_recipes_lora_changes_the_edit_in_comfyui(comfyui, lora):
    """With core's own loader of LoRAs."""
    assert lora and all(name.startswith("diffusion_model.blocks.") for name in lora)
    names = write_untrained(comfyui.base / "models")
    write_clip(comfyui.base / "input" / CLIP_FILE, moving_shapes(9, 48, 32), Fraction(12))
    save_file(lora, comfyui.models("loras") / "aligned.safetensors")
    sama = names["diffusion_models"]
    files = SmallModels(sama, names["text_encoders"], names["vae"], sama)
    plain = Edit(comfyui, files, area=SMALL_AREA).sample()
    graph = Edit(comfyui, files, area=SMALL_AREA)
    graph.patch("LoraLoaderModelOnly", lora_name="aligned.safetensors", strength_model=1.0)
    found = graph.sample()
    assert (found["video"] - plain["video"]).norm() > 0.05 * plain["video"].norm()
