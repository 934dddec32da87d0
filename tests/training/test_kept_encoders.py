"""What is kept of rows on disk: equal bit for bit, asked for once, made again where damaged."""

import logging

import pytest
import torch

from sama_core import embedded
from sama_core.geometry import ClipShape
from sama_core.training.__main__ import main
from sama_core.training.rows.data import RowsData
from sama_core.training.rows.fill_kept import fill_kept, why_not_filled
from sama_core.training.rows.frozen_encoders import FrozenEncoders, load_text_encoder, load_vae
from sama_core.training.rows.kept_encoders import ClipPart, KeptEncoders
from sama_core.training.rows.kept_tensors import KeptDigests, KeptTensors
from sama_core.training.semantics import PixelEncoder

from ..harness.untrained import FILES
from .rows_files import (
    BLUE,
    GREEN,
    RED,
    clip,
    config,
    image,
    jsonl,
    models,
    pair,
    recipe,
    settings,
)

SHAPE = ClipShape(5, 32, 32)


class CountedEncoders(FrozenEncoders):
    """Notes what it is asked for."""

    asked: list[str]

    def latents(self, frames):
        self.asked.append("latents")
        return super().latents(frames)

    def text(self, text):
        self.asked.append(text)
        return super().text(text)

    def semantic(self, frame):
        self.asked.append("semantic")
        return super().semantic(frame)


@pytest.fixture(scope="module")
def loaded():
    text, tokens = load_text_encoder(models() / "text_encoders" / FILES["text_encoders"])
    return CountedEncoders(load_vae(embedded.VAE), text, tokens, PixelEncoder())


@pytest.fixture
def encoders(loaded):
    loaded.asked = []
    return loaded


@pytest.fixture
def folder(tmp_path):
    for name, colour in (("a", RED), ("b", BLUE), ("c", GREEN)):
        clip(tmp_path / f"{name}.mp4", colour, frames=9)
        image(tmp_path / f"{name}.png", colour)
    return tmp_path


ROWS = [
    pair("a.mp4", "b.mp4", "make it blue"),
    pair("b.mp4", "c.mp4", "make it green"),
    pair("c.mp4", "a.mp4", "make it red"),
    pair("a.png", "b.png", "make it blue"),
]


def data_of(folder, encoders, rows=ROWS, clips=None, **changes) -> RowsData:
    from sama_core.training.rows.clips_config import ClipsConfig

    path = jsonl(folder / "data.jsonl", rows)
    table = None if clips is None else ClipsConfig(**clips)
    made = config(path, folder / "out", clips=table, image_share=0.3, steps=8, **changes)
    return RowsData(made, encoders)


def batches(data, steps=8):
    return [data.batch(step, slice(0, 2)) for step in range(steps)]


def assert_equal(one, other):
    for mine, others in zip(one, other, strict=True):
        assert mine.names == others.names
        for name in ("target_latents", "source_latents", "text", "semantic"):
            assert torch.equal(getattr(mine, name), getattr(others, name)), name


@pytest.mark.parametrize("workers", [0, 3])
def test_kept_batches_are_those_that_would_be_made(folder, encoders, workers):
    """Without `[clips]`, with a cache to fill, and with a full one; the encoders are asked once."""
    plain = batches(data_of(folder, encoders))
    encoders.asked.clear()
    assert_equal(batches(data_of(folder, encoders, clips={"workers": workers})), plain)
    assert sorted(set(encoders.asked)) == sorted(
        ["latents", "semantic", "[Video edit]"]
        + [f"[Video edit] make it {colour}" for colour in ("red", "green", "blue")]
    )
    assert encoders.asked.count("latents") == 5  # three clips and two pictures
    encoders.asked.clear()
    assert_equal(batches(data_of(folder, encoders, clips={"workers": workers})), plain)
    assert encoders.asked == []


def test_filled_ahead_of_the_first_step(folder, encoders):
    data = data_of(folder, encoders, clips={"windows": 3})
    assert fill_kept(data)
    assert encoders.asked.count("latents") == 3 * 3 + 2  # windows at 0, 2 and 4
    encoders.asked.clear()
    batches(data)
    assert fill_kept(data_of(folder, encoders, clips={"windows": 3}))
    assert encoders.asked == []


def test_the_task_fill(folder, encoders, capsys):
    """Without a model in memory; a run then asks no encoder."""
    values = settings(jsonl(folder / "data.jsonl", ROWS), folder / "out", image_share=0.3, steps=8)
    assert main(["fill", str(recipe(folder / "recipe.toml", {**values, "clips": {}}))]) == 0
    assert capsys.readouterr().out.startswith(f"{folder / 'out' / 'cache'}  0.")
    batches(data_of(folder, encoders, clips={}))
    assert encoders.asked == []
    any_frame = {**values, "clips": {"windows": 0}}
    assert main(["fill", str(recipe(folder / "recipe.toml", any_frame))]) == 1
    assert "fill: got clips.windows 0 takes any frame" in capsys.readouterr().err


def test_two_processes_fill_one_folder(folder, encoders):
    for rank in range(2):
        data = data_of(folder, encoders, clips={})
        data.process = (rank, 2)
        assert fill_kept(data)
    encoders.asked.clear()
    batches(data_of(folder, encoders, clips={}))
    assert encoders.asked == []


@pytest.mark.parametrize(
    ("clips", "rows", "stage", "why"),
    [
        ({"cache": False}, ROWS, 1, "clips.cache is off"),
        ({"windows": 0}, ROWS, 1, "clips.windows 0 takes any frame"),
        (
            {},
            [{"video": "a.mp4", "caption": "a square"}, ROWS[3]],
            0,
            "a clip to restore is perturbed anew each time",
        ),
    ],
)
def test_what_cannot_be_filled(folder, encoders, clips, rows, stage, why):
    data = data_of(folder, encoders, rows, clips, stage=stage)
    assert why_not_filled(data) == why and not fill_kept(data)


def test_a_perturbed_source_is_not_kept(folder, encoders):
    rows = [{"video": "a.mp4", "caption": "a square"}, ROWS[3]]
    plain = batches(data_of(folder, encoders, rows, stage=0))
    for _ in range(2):
        assert_equal(batches(data_of(folder, encoders, rows, {}, stage=0)), plain)


def test_a_damaged_file_is_made_again(folder, encoders):
    data = data_of(folder, encoders, clips={})
    fill_kept(data)
    plain = batches(data)
    files = list((folder / "out" / "cache").glob("*/*.safetensors"))
    for file in files:
        file.write_bytes(file.read_bytes()[:40])
    assert_equal(batches(data_of(folder, encoders, clips={})), plain)
    assert sorted(files) == sorted((folder / "out" / "cache").glob("*/*.safetensors"))


def test_a_name_says_what_a_value_depends_on(folder, encoders):
    """Bytes, not names: a copy is found, a clip that changed is not."""
    kept = KeptEncoders(data_of(folder, encoders, clips={}).config, encoders)
    part = ClipPart(folder / "a.mp4", 0, 5, 32, 32)
    one = kept.latents(part, lambda: torch.zeros(5, 32, 32, 3))
    (folder / "copy.mp4").write_bytes((folder / "a.mp4").read_bytes())
    assert torch.equal(kept.find_latents(ClipPart(folder / "copy.mp4", 0, 5, 32, 32)), one)
    others = [
        ClipPart(folder / "b.mp4", 0, 5, 32, 32),
        ClipPart(folder / "a.mp4", 1, 5, 32, 32),
        ClipPart(folder / "a.mp4", 0, 1, 32, 32),
        ClipPart(folder / "a.mp4", 0, 5, 64, 32),
        ClipPart(folder / "a.mp4", 0, 5, 32, 32, "4"),
    ]
    assert [kept.find_latents(other) for other in others] == [None] * 5
    other_vae = folder / "other.safetensors"
    other_vae.write_bytes(embedded.VAE.read_bytes() + b" ")
    changed = KeptEncoders(
        config(folder / "data.jsonl", folder / "out", vae=str(other_vae), clips=kept.config.clips),
        encoders,
    )
    assert changed.find_latents(part) is None


def test_a_full_folder_keeps_nothing_more(tmp_path, caplog):
    kept = KeptTensors(tmp_path, 1e-6)  # 1000 bytes
    kept.put(torch.ones(100), "one")
    with caplog.at_level(logging.WARNING):
        kept.put(torch.ones(200), "two")
        kept.put(torch.ones(200), "three")
    assert kept.has("one") and not kept.has("two") and kept.full
    assert [record.message for record in caplog.records] == [
        f"{tmp_path} holds 0.0 GB: what is not kept is made again each time."
    ]


def test_a_folder_in_the_place_of_a_tensor_is_named_and_kept(tmp_path, caplog):
    kept = KeptTensors(tmp_path, 1)
    kept.put(torch.ones(3), "one")
    [path] = tmp_path.rglob("*.safetensors")
    path.unlink()
    path.mkdir()
    assert kept.get("one") is None and path.is_dir()
    with caplog.at_level(logging.WARNING):
        kept.put(torch.ones(3), "one")
    [record] = caplog.records
    assert f"{path}: got a folder of that name, which is kept" in record.message
    assert ".part" not in record.message and path.is_dir()


def test_digests_are_remembered_until_a_file_changes(tmp_path, monkeypatch):
    from sama_core.training.rows import kept_tensors

    read = []
    real = kept_tensors.digest_file
    monkeypatch.setattr(kept_tensors, "digest_file", lambda path: read.append(path) or real(path))
    file = tmp_path / "a"
    file.write_bytes(b"one")
    first = KeptDigests(tmp_path / "cache")(file)
    assert KeptDigests(tmp_path / "cache")(file) == first and len(read) == 1
    file.write_bytes(b"three")
    assert KeptDigests(tmp_path / "cache")(file) != first and len(read) == 2
    (tmp_path / "cache" / "digests.json").write_text("{")
    assert KeptDigests(tmp_path / "cache")(file) and len(read) == 3


def test_digests_of_many_files_are_not_written_for_each(tmp_path, monkeypatch):
    """All of them for each one: that would be 20,000 writes of a file that grows."""
    from sama_core.training.rows import kept_tensors

    written, read = [], []
    write, digest = kept_tensors.whole_file, kept_tensors.digest_file
    monkeypatch.setattr(
        kept_tensors, "whole_file", lambda path: written.append(path) or write(path)
    )
    monkeypatch.setattr(kept_tensors, "digest_file", lambda path: read.append(path) or digest(path))
    files = [tmp_path / str(number) for number in range(200)]
    for file in files:
        file.write_bytes(b"one")
    for _ in range(2):
        remember = KeptDigests(tmp_path / "cache")
        assert len({remember(file) for file in files}) == 1
    assert len(written) < 100 and 200 <= len(read) <= 200 + 200 // 32
