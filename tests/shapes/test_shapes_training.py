"""The embedded model's own training: vocabulary, samples, pool, first weights, and the command
line.
"""

import json
import subprocess
import sys
from dataclasses import fields, replace
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from sama_core import SamaDiT, embedded
from sama_core.encoders.umt5 import PaddedText, Tokens, Umt5Encoder
from sama_core.encoders.vae import load_wan_vae
from sama_core.encoders.vae_layout import WAN_MEAN, WAN_STD
from sama_core.errors import CheckpointError, SamaError
from sama_core.shapes.config import ShapesConfig, load_config
from sama_core.shapes.model.copy_start import copy_start
from sama_core.shapes.model.new_model import (
    init_weights,
    shapes_dit_config,
    shapes_text_sizes,
    train_vocabulary,
)
from sama_core.shapes.training.batches import ShapesData
from sama_core.shapes.training.channel_weights import channel_weights
from sama_core.shapes.training.encoded_samples import (
    ShapesEncoder,
    draw_clips,
    edit_samples,
    pretext_samples,
)
from sama_core.shapes.training.latent_pool import LatentPool
from sama_core.shapes.training.scene_reader import ShapesObjective
from sama_core.shapes.training.shapes_run import ShapesRun
from sama_core.shapes.world import USUAL, EditSampler, corpus, vocabulary
from sama_core.training.__main__ import main as training_command
from sama_core.training.objective import TrainBatch
from sama_core.training.objectives.noising import stream
from sama_core.training.pretext import PRETEXTS
from sama_core.training.recipe import ConfigError, find_recipe, refuse_changes
from sama_core.training.semantics import PixelEncoder
from sama_core.weights.checkpoint import plan_checkpoint

from ..training.test_training_parts import pair
from ..training.tiny_run import tiny_config, tiny_trainee

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "sama_core" / "shapes" / "recipes"


@pytest.fixture(scope="module")
def tokens() -> Tokens:
    return Tokens(train_vocabulary())


@pytest.fixture(scope="module")
def encoder(tokens) -> ShapesEncoder:
    vae = load_wan_vae(load_file(embedded.VAE)).eval()
    vae.skip_idle()
    return ShapesEncoder(vae, PixelEncoder(), tokens, 20)


@pytest.fixture
def config(tmp_path):
    return load_config(
        RECIPES / "shapes_stage0.toml",
        output=str(tmp_path),
        pool=str(tmp_path / "pool"),
        stage=1,
        batch_size=4,
        image_batch_size=6,
        frames=5,
        image_pairs=0,
        clip_pairs=0,
        image_share=0.5,
    )


# --- words -------------------------------------------------------------------------------------


def test_every_word_of_the_world_is_one_token(tokens):
    assert [word for word in vocabulary() if len(tokens.pieces.encode(word)) != 1] == []


def test_the_vocabulary_is_the_same_every_time():
    assert train_vocabulary() == train_vocabulary()


def test_case_and_punctuation_do_not_matter_to_the_words(tokens):
    plain = tokens.pieces.encode("make the circle red")
    assert tokens.pieces.encode("Make the CIRCLE red") == plain
    assert tokens.pieces.encode("make the circle red.")[:4] == plain


def test_tags_are_made_of_whole_words(tokens):
    assert tokens.pieces.encode("[Video edit]", out_type=str) == ["▁[video", "▁edit]"]
    for pretext in PRETEXTS.values():
        assert len(tokens.pieces.encode(pretext.tag)) == len(pretext.tag.split())


def test_unknown_words_are_spelt_and_never_unknown(tokens):
    assert tokens.pieces.unk_id() not in tokens.pieces.encode(
        "replace the seal with a crab, été 蟹"
    )


def test_rows_end_with_the_end_token_and_padding(tokens):
    rows = tokens.instructions(["make the circle red", ""], 8)
    words = tokens.pieces.encode("[Video edit] make the circle red")
    assert rows.tolist() == [[*words, 1, 0], [*words[:2], 1, 0, 0, 0, 0, 0]]


def test_every_wording_fits_the_recipes_length(tokens):
    lengths = {
        len(tokens.pieces.encode(f"[Video edit] {line}."))
        for split in ("train", "test")
        for line in list(corpus(split))[::5]
    }
    assert max(lengths) + 2 <= load_config(RECIPES / "shapes_stage0.toml").text_length


def test_a_text_that_does_not_fit_is_refused(tokens):
    with pytest.raises(SamaError, match="more than the 7 tokens"):
        tokens.instructions(["make the circle red"], 7)


# --- the pool ----------------------------------------------------------------------------------


class Counting:
    def __init__(self):
        self.made = []

    def __call__(self, number: int) -> dict[str, torch.Tensor]:
        self.made.append(number)
        return {"value": torch.arange(4) + 10 * number}


def test_pool_gives_samples_by_number_and_makes_each_shard_once(tmp_path):
    make = Counting()
    pool = LatentPool(tmp_path, "p", shards=3, size=4, make=make)
    assert pool.samples(torch.tensor([9, 0, 3, 9]))["value"].tolist() == [21, 0, 3, 21]
    assert sorted(make.made) == [0, 2]
    again = LatentPool(tmp_path, "p", shards=3, size=4, make=make)
    assert again.samples(torch.tensor([1]))["value"].tolist() == [1] and sorted(make.made) == [0, 2]
    assert again.fill(1) is True and again.fill(1) is False
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"p_000{n}.safetensors" for n in range(3)
    ]


def test_a_damaged_shard_is_made_again(tmp_path):
    make = Counting()
    pool = LatentPool(tmp_path, "p", shards=1, size=4, make=make)
    pool.fill(0)
    pool.path(0).write_bytes(pool.path(0).read_bytes()[:30])
    assert pool.samples(torch.tensor([2]))["value"].tolist() == [2]
    assert make.made == [0, 0] and load_file(pool.path(0))["value"].tolist() == [0, 1, 2, 3]


def test_a_folder_in_the_place_of_a_shard_is_named_and_kept(tmp_path):
    pool = LatentPool(tmp_path, "p", shards=1, size=4, make=Counting())
    pool.path(0).mkdir()
    for ask in (lambda: pool.fill(0), lambda: pool.samples(torch.tensor([2]))):
        with pytest.raises(SamaError, match="0000.safetensors: got a folder of that name"):
            ask()
    assert pool.path(0).is_dir() and pool.make.made == []


# --- samples -----------------------------------------------------------------------------------


def test_skipping_idle_units_changes_no_bit(encoder):
    whole = load_wan_vae(load_file(embedded.VAE)).eval()
    clips = torch.rand(2, 3, 5, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        assert torch.equal(whole.encode(clips), encoder.vae.encode(clips))
        assert torch.equal(
            whole.decode(whole.encode(clips)), encoder.vae.decode(encoder.vae.encode(clips))
        )
    skipped = [
        name
        for name, unit in encoder.vae.named_modules()
        if getattr(unit, "reach", "full") == "skip"
    ]
    assert skipped == [f"encoder.downsamples.{number}" for number in (0, 1, 3, 4)]


def test_edit_samples_are_the_encoded_pairs(encoder, tokens):
    sampler = EditSampler(3, "train", ["recolour"], 5, 64, 64)
    samples, batch = edit_samples(encoder, sampler, 2, 7), sampler.batch(7, 2)
    with torch.no_grad():
        raw = encoder.vae.encode(batch.target.movedim(-1, 1) * 2 - 1)
    wanted = (raw - torch.tensor(WAN_MEAN).view(-1, 1, 1, 1)) / torch.tensor(WAN_STD).view(
        -1, 1, 1, 1
    )
    assert (samples["target"].float() - wanted).abs().max() < 4e-3
    assert samples["source"].shape == (2, 16, 2, 8, 8) and samples["semantic"].shape == (2, 65, 48)
    told = tokens.pieces.decode([int(piece) for piece in samples["text"][0, 0] if piece > 2])
    assert told.rstrip(".") == f"[video edit] {batch.instructions[0]}"
    assert samples["text"].shape == (2, 4, 20)


def test_pretext_samples_keep_the_target_whole_and_say_only_the_tag(encoder, tokens):
    draw = partial(draw_clips, 0, USUAL, 9)
    samples = pretext_samples(encoder, 0, draw, 16, 9, 64, 64, 0)
    same = (samples["source"] - samples["target"]).abs().flatten(1).amax(1) < 0.02
    told = [
        tokens.pieces.decode([int(piece) for piece in row[0] if piece > 2])
        for row in samples["text"]
    ]
    tags = {pretext.tag.lower(): name for name, pretext in PRETEXTS.items()}
    names = [tags[text] for text in told]
    assert set(names) == {"none", "cube_inpainting", "speed_perturbation", "tube_shuffle"}
    assert all(bool(value) for value, name in zip(same, names, strict=True) if name == "none")
    changed = {name for value, name in zip(same, names, strict=True) if not value}
    assert changed == {"cube_inpainting", "speed_perturbation", "tube_shuffle"}


def test_without_pretexts_a_stage_0_clip_is_its_own_source(config, encoder):
    data = ShapesData(replace(config, stage=0, pretexts=False, image_share=0.0), encoder, "id")
    batch = data.batch(0, slice(0, 4))
    assert (batch.source_latents - batch.target_latents).abs().max() < 0.02
    assert all((row == data.tag).all() or int(row[0]) == 1 for row in batch.text)


def test_a_part_of_a_batch_is_that_part_of_the_whole(config, encoder):
    data = ShapesData(config, encoder, "id")
    for step in range(3):
        size = config.size_at(step)
        whole, part = data.batch(step, slice(0, size)), data.batch(step, slice(2, 4))
        assert (
            torch.equal(whole.target_latents[2:4], part.target_latents)
            and part.names == whole.names[2:4]
        )
        assert torch.equal(whole.text[2:4], part.text)
        assert (
            whole.target_latents.shape[2] == (1 if config.is_image_step(step) else 2)
            and len(whole.names) == size
        )


def test_image_and_clip_steps_follow_their_share(config):
    kinds = [config.is_image_step(step) for step in range(400)]
    assert 160 < sum(kinds) < 240
    assert {config.size_at(step) for step in range(400)} == {4, 6}
    assert not any(replace(config, image_share=0.0).is_image_step(step) for step in range(50))


def test_semantic_steps_and_dropped_texts_follow_their_shares(config, encoder):
    config = replace(config, semantic_share=0.5, text_dropout=0.5, frames=1, image_batch_size=8)
    data = ShapesData(config, encoder, "id")
    batches: list[TrainBatch] = [data.batch(step, slice(0, 4)) for step in range(24)]
    assert 6 <= sum(batch.semantic is None for batch in batches) <= 18
    bare = torch.stack([(batch.text == data.tag).all(1) for batch in batches]).float().mean()
    assert 0.3 < bare < 0.7


def test_the_pool_opens_with_the_steps(config, encoder):
    config = replace(config, steps=100, pool_growth=0.5, image_share=1.0, image_pairs=4 * 512)
    data = ShapesData(config, encoder, "id")
    data.images.make = lambda number: {"target": torch.full((512, 1), number)}
    drawn = [
        data._draw(data.images, step, 256)(data.images)["target"] for step in (0, 14, 30, 45, 90)
    ]
    assert [int(targets.max()) for targets in drawn] == [0, 0, 1, 3, 3]


# --- settings ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pixel_weight": -0.5}, "pixel_weight: got -0.5, needs 0 or more"),
        (
            {"trained_parts": "head.", "reading_weight": 1.0},
            "trained_parts: got head., needs empty with a reading_weight",
        ),
        ({"shades": 1.5}, "shades: got 1.5, needs 0 to 1"),
        ({"data": "rows.jsonl"}, 'data: got rows.jsonl, needs "shapes"'),
        ({"text_length": 1}, "text_length: got 1, needs 2 to 512"),
        ({"steps": 0}, "steps: got 0, needs at least 1"),
    ],
)
def test_settings_with_a_slip_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        load_config(RECIPES / "shapes_stage0.toml", **settings)


@pytest.mark.parametrize(
    "path", ["shapes_stage0.toml", "sama_core/training/recipes/shapes_stage0.toml"]
)
def test_a_recipe_is_found_by_its_name_and_where_it_once_lay(path):
    assert load_config(path) == load_config(RECIPES / "shapes_stage0.toml")
    with pytest.raises(ConfigError, match="no file"):
        load_config(f"elsewhere/{path}" if "/" not in path else "recipes/none.toml")


@pytest.mark.parametrize("room", ["training", "shapes"])
def test_a_missing_recipe_of_one_s_own_is_not_replaced_by_the_pack_s(room, tmp_path, monkeypatch):
    """Only a short form and the pack's own folders, in this and earlier versions, mean its own."""
    monkeypatch.chdir(tmp_path)
    name = "shapes_stage0.toml"
    pack = ROOT / "sama_core" / room / "recipes" / name
    for own in (name, f"recipes/{name}", f"sama_core/{room}/recipes/{name}", pack):
        assert find_recipe(own) == RECIPES / name
    for missing in (
        tmp_path / "recipes" / name,
        tmp_path / "sama_core" / room / "recipes" / name,
        Path("mine", "recipes", name),
        Path("..", "recipes", name),
        ROOT / "recipes" / name,
        ROOT / "sama_core" / "plan" / "recipes" / name,
    ):
        assert find_recipe(missing) == missing
        with pytest.raises(ConfigError, match=f"no file .*{name}"):
            load_config(missing)


SAVED = {
    "stage": 0,
    "data": "shapes",
    "model": "shapes",
    "output": "old",
    "steps": 300,
    "batch_size": 48,
    "image_batch_size": 192,
    "seed": 0,
    "base_model": "",
    "vae": "",
    "text_encoder": "",
    "semantic_encoder": "pixels",
    "init": "",
    "frames": 17,
    "height": 64,
    "width": 64,
    "edits": "recolour recolour remove replace replace background style",
    "shades": 0.0,
    "image_pairs": 36864,
    "clip_pairs": 1536,
    "pool_growth": 1.0,
    "pool": "old_pool",
    "start": "copy",
    "image_share": 0.8,
    "learning_rate": 1e-3,
    "muon_rate": 0.02,
    "weight_decay": 0.01,
    "warmup": 30,
    "decay_from": 1.0,
    "clip_norm": 1.0,
    "accumulation": 1,
    "ema": 0.99,
    "semantic_weight": 0.1,
    "semantic_share": 0.2,
    "pretexts": True,
    "edit_weight": 2.0,
    "pixel_weight": 0.0,
    "own_path_share": 0.0,
    "reading_weight": 0.0,
    "shift": 5.0,
    "text_dropout": 0.1,
    "trained_parts": "",
    "lora_rank": 0,
    "precision": "no",
    "gradient_checkpointing": False,
    "text_length": 20,
    "checkpoint_every": 50,
    "log_every": 5,
}
"""What a checkpoint of the first recipe held in version 0.1.0."""


def test_a_checkpoint_of_before_goes_on():
    now = load_config(RECIPES / "shapes_stage0.toml")
    newer = {"align", "anchor_share", "crossing", "drawing_pairs", "drawings", "pretext"}
    newer |= {"saliency", "speed", "clips", "memory", "validation", "new_rows", "track", "shard"}
    newer |= {"keep_checkpoints", "trigger", "lora_alpha", "lora_dropout", "lora_targets"}
    assert {field.name for field in fields(now)} == set(SAVED) | newer
    refuse_changes(SAVED, now, now.FREE_TO_CHANGE)
    for name, value in (("edits", "recolour"), ("reading_weight", 1.0), ("init", "embedded")):
        with pytest.raises(ConfigError, match=f"changed settings: {name} .* → '?{value}'?, needs"):
            refuse_changes(SAVED, replace(now, **{name: value}), now.FREE_TO_CHANGE)


# --- weights of channels -----------------------------------------------------------------------


def test_weights_of_cells_times_those_of_channels(config):
    config = replace(config, edit_weight=2.0)
    weights = ShapesObjective(config, None, torch.arange(16.0)).element_weight(pair())
    assert weights[0, 5, 0, 0].tolist() == [5, 5, 5, 5, 15, 15]


def flow_losses(tmp_path, batch: TrainBatch, weights=None, **settings) -> torch.Tensor:
    plain = tiny_config(tmp_path, semantic_weight=0.0, **settings)
    values = {field.name: getattr(plain, field.name) for field in fields(plain)}
    config = ShapesConfig(**{**values, "data": "shapes", "text_length": 6})
    return ShapesObjective(config, None, weights)(
        tiny_trainee(config), batch, [stream("noise")]
    ).total


def test_weights_of_cells_and_channels_make_a_weighted_mean(tmp_path):
    """Worked out from the losses of parts: a channel of weight 0 is left out, and so is nothing
    else.
    """
    first, rest = torch.zeros(16), torch.ones(16)
    first[0], rest[0] = 1, 0
    whole, of_first, of_rest = (
        flow_losses(tmp_path, pair(), weights).item() for weights in (None, first, rest)
    )
    assert whole == pytest.approx((of_first + 15 * of_rest) / 16, rel=1e-5)
    assert flow_losses(tmp_path, pair(), 1 + 2 * first).item() == pytest.approx(
        (3 * of_first + 15 * of_rest) / 18, rel=1e-5
    )
    assert flow_losses(tmp_path, pair(), torch.ones(16)).item() == pytest.approx(whole, rel=1e-6)
    assert flow_losses(tmp_path, pair(), edit_weight=1.0).item() != pytest.approx(whole, rel=1e-3)


class PlainSpace:
    """A codec whose decoder shows channel c as c times itself."""

    device = "cpu"

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        shown = torch.arange(latents.shape[1]).view(1, -1, 1, 1, 1) * latents
        return shown.sum(1)[..., None]


def test_channels_weigh_what_they_show():
    latents = torch.randn(2, 4, 1, 8, 8, generator=stream("latents"))
    shown = channel_weights(PlainSpace(), latents, 1.0).tolist()
    assert shown == pytest.approx([0, 4 / 14, 16 / 14, 36 / 14], rel=1e-4)
    assert channel_weights(PlainSpace(), latents, 0.5).tolist() == pytest.approx(
        [0, 4 / 6, 8 / 6, 12 / 6], rel=1e-4
    )
    assert channel_weights(PlainSpace(), latents, 0.0).tolist() == [1, 1, 1, 1]


# --- first weights -----------------------------------------------------------------------------


@pytest.mark.parametrize("frames", [1, 5])
def test_a_new_model_returns_its_source(frames):
    dit = SamaDiT(shapes_dit_config(48))
    init_weights(dit, stream(0, "weights"))
    copy_start(dit)
    draw = torch.Generator().manual_seed(1)
    noisy, source = (torch.randn(4, 16, frames, 8, 8, generator=draw) for _ in range(2))
    semantic, text = torch.randn(4, 65, 48, generator=draw), torch.randn(4, 7, 128, generator=draw)
    for sigma in (1.0, 0.9, 0.5, 0.2):
        with torch.no_grad():
            velocity, _ = dit(noisy, torch.full((4,), 1000 * sigma), text, source, semantic)
        restored = noisy - sigma * velocity
        assert (restored - source).square().mean() < 0.01, sigma


def test_a_new_model_listens_to_the_text_and_not_to_its_padding(encoder):
    """The last row stands for hundreds of padding rows: less than a tenth of the weight in every
    block.
    """
    dit, heard = SamaDiT(shapes_dit_config(48)), []
    text_encoder = Umt5Encoder(shapes_text_sizes(402))
    init_weights(torch.nn.ModuleList([dit, text_encoder]), stream(0, "weights"))
    copy_start(dit)

    class Listening(PaddedText):
        def __call__(self, q, k, v, heads, transformer_options=None):
            told = torch.zeros_like(v)
            told[:, words:] = 1  # so that the output is the weight of the padding
            heard.append(float(super().__call__(q, k, told, heads).mean()))
            return super().__call__(q, k, v, heads)

    ids = encoder.tokens.instructions(["make the circle red"], 20)
    words = int((ids > 0).sum())
    for block in dit.blocks:
        block.cross_attn.attention = Listening(20)
    source = torch.randn(1, 16, 1, 8, 8, generator=stream(1))
    with torch.no_grad():
        dit(source, torch.tensor([900.0]), text_encoder(ids), source)
    assert len(heard) == 6 and max(heard) < 0.1, heard
    fixed = {name for name, weight in dit.named_parameters() if not weight.requires_grad}
    assert fixed == {
        "text_embedding.0.bias",
        "text_embedding.2.bias",
        *(f"blocks.{number}.cross_attn.k.bias" for number in range(6)),
    }


# --- the command -------------------------------------------------------------------------------


def run(*arguments: object, program: str = "sama_core.shapes") -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", program, *map(str, arguments)],
        cwd=ROOT,
        text=True,
        capture_output=True,
        timeout=900,
        check=False,
    )


SMALL = (
    "frames=5",
    "image_batch_size=4",
    "batch_size=2",
    "image_pairs=0",
    "clip_pairs=0",
    "log_every=1",
    "checkpoint_every=2",
    "warmup=1",
)


def test_two_stages_from_the_command_line_give_files_that_load(tmp_path):
    recipe = RECIPES / "shapes_stage0.toml"
    first = run("train", recipe, f"output={tmp_path / 'zero'}", "steps=3", *SMALL)
    assert first.returncode == 0, first.stderr
    weights = tmp_path / "zero" / "weights.safetensors"
    # The trainer's own command hands the recipe over, under the path that it had there.
    second = run(
        "train",
        "sama_core/training/recipes/shapes_stage0.toml",
        f"output={tmp_path / 'one'}",
        "stage=1",
        f"init={weights}",
        "steps=2",
        *SMALL,
        program="sama_core.training",
    )
    assert second.returncode == 0, second.stderr
    lines = [
        json.loads(line) for line in (tmp_path / "zero" / "log.jsonl").read_text().splitlines()
    ]
    assert [line["step"] for line in lines] == [0, 1, 2]

    plan = plan_checkpoint(tmp_path / "one" / embedded.DIT.name)
    assert plan.config.dim == 256 and plan.config.num_heads == 2 and plan.files[0].kind == "full"
    assert json.loads(plan.metadata["config"])["transformer"]["area"] == 64 * 64
    text = load_file(tmp_path / "one" / embedded.TEXT_ENCODER.name)
    assert text["spiece_model"].numpy().tobytes() == train_vocabulary()
    assert text["shared.weight"].dtype == torch.float16
    before = load_file(weights)
    again = ShapesRun.of(load_config(recipe, init=str(weights), output=str(tmp_path / "two")))
    assert all(
        torch.equal(value, before[name]) for name, value in again.trainee.state_dict().items()
    )


def test_own_path_and_channel_weights_reach_the_loss(tmp_path):
    """The command line's first loss is that of the objective with both settings, and with either
    alone another.
    """
    recipe = RECIPES / "shapes_stage1_finish.toml"
    small = {
        "init": "embedded",
        "steps": 1,
        "frames": 1,
        "image_batch_size": 4,
        "batch_size": 4,
        "image_pairs": 0,
        "clip_pairs": 0,
        "warmup": 1,
        "log_every": 1,
    }
    both = {"pixel_weight": 0.5, "own_path_share": 1.0}
    output = tmp_path / "run"
    done = run(
        "train",
        recipe,
        f"output={output}",
        *(f"{name}={value}" for name, value in (small | both).items()),
    )
    assert done.returncode == 0, done.stderr
    found = []
    for left_out in (None, *both):
        config = load_config(
            recipe, **small, **{name: value for name, value in both.items() if name != left_out}
        )
        shapes = ShapesRun.of(config)
        generators = [stream(config.seed, "noise", 0, index) for index in range(4)]
        objective = ShapesObjective(config, None, shapes.channel_weights)
        found.append(
            objective(shapes.trainee, shapes.data.batch(0, slice(0, 4)), generators)
            .flow.mean()
            .item()
        )
    assert json.loads((output / "log.jsonl").read_text())["flow"] == pytest.approx(
        found[0], rel=1e-5
    )
    assert all(abs(other / found[0] - 1) > 1e-3 for other in found[1:]), found


def test_the_first_channel_shows_most():
    weights = ShapesRun.of(
        load_config(RECIPES / "shapes_stage0.toml", pixel_weight=1.0, frames=5)
    ).channel_weights
    assert (
        weights.argmax() == 0
        and weights[0] > 5 * weights[1:].max()
        and weights.mean() == pytest.approx(1)
    )


def test_export_writes_what_the_run_would_have_written(tmp_path):
    recipe, output = RECIPES / "shapes_stage0.toml", f"output={tmp_path / 'run'}"
    assert run("train", recipe, output, "steps=2", *SMALL).returncode == 0
    written = load_file(tmp_path / "run" / embedded.DIT.name)
    (tmp_path / "run" / embedded.DIT.name).unlink()
    exported = run("export", recipe, output, "steps=2", *SMALL)
    assert exported.returncode == 0 and "MB" in exported.stdout
    again = load_file(tmp_path / "run" / embedded.DIT.name)
    assert again.keys() == written.keys() and all(
        torch.equal(again[name], written[name]) for name in written
    )


def test_fill_makes_the_samples_that_training_draws(config, tmp_path, monkeypatch, capsys):
    """From the trainer's command; a second time there is nothing to make."""
    monkeypatch.setattr("sama_core.shapes.training.sample_pools.IMAGE_SHARD", 4)
    told = (
        "fill",
        str(RECIPES / "shapes_stage0.toml"),
        f"output={tmp_path}",
        "image_pairs=8",
        "clip_pairs=0",
    )
    for _ in range(2):
        assert training_command([*told, f"pool={tmp_path / 'pool'}"]) == 0, capsys.readouterr().err
        pool = sorted((tmp_path / "pool").iterdir())
        assert len(pool) == 2 and all(len(load_file(path)["target"]) == 4 for path in pool)
        dates = {path.stat().st_mtime_ns for path in pool}
    assert dates == {path.stat().st_mtime_ns for path in pool}


def test_mistakes_are_told_in_a_sentence(tmp_path):
    recipe = RECIPES / "shapes_stage0.toml"
    missing = run("train", tmp_path / "none.toml")
    assert (
        missing.returncode == 1
        and "no file" in missing.stderr
        and "Traceback" not in missing.stderr
    )
    unknown = run("train", recipe, "stepz=3")
    assert unknown.returncode == 1 and "unknown settings stepz" in unknown.stderr
    nothing = run("export", recipe, f"output={tmp_path}")
    assert nothing.returncode == 1 and "Train first" in nothing.stderr


def test_a_start_that_does_not_fit_is_refused(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="no vocabulary"):
        ShapesRun.of(
            load_config(RECIPES / "shapes_stage0.toml", init=str(tmp_path / "other.safetensors"))
        )
