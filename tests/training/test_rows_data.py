"""Rows of a JSONL file as training samples: what is read, what is left out and why, and which
sample is when.
"""

import logging
from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from sama_core import embedded
from sama_core.clip import ClipRange, FileSource, fit_clip, resize_frame
from sama_core.errors import CheckpointError, SamaError
from sama_core.geometry import ClipShape
from sama_core.training.pretext import PRETEXTS
from sama_core.training.rows import row_samples
from sama_core.training.rows.data import RowsData, read_row, shuffle_rows
from sama_core.training.rows.frozen_encoders import FrozenEncoders, load_text_encoder, load_vae
from sama_core.training.rows.rows import RowError, read_rows

from ..harness.untrained import FILES
from .rows_files import BLUE, GREEN, RED, clip, config, image, jsonl, models, pair, report

SHAPE = ClipShape(5, 32, 32)


@pytest.fixture(scope="module")
def encoders() -> FrozenEncoders:
    from sama_core.training.semantics import PixelEncoder

    text, tokens = load_text_encoder(models() / "text_encoders" / FILES["text_encoders"])
    return FrozenEncoders(load_vae(embedded.VAE), text, tokens, PixelEncoder())


@pytest.fixture
def folder(tmp_path):
    """Three good pairs, and files that are not."""
    for name, colour in (("a", RED), ("b", BLUE), ("c", GREEN)):
        clip(tmp_path / f"{name}.mp4", colour)
        image(tmp_path / f"{name}.png", colour)
    clip(tmp_path / "short.mp4", RED, frames=4)
    clip(tmp_path / "wide.mp4", RED, size=(32, 64))
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    return tmp_path


# --- rows --------------------------------------------------------------------------------------

BAD_ROWS = [
    ("{", "got a line that is not JSON, needs one JSON object per line."),
    ("[1]", "got a JSON list, needs an object with keys and values."),
    (
        {"source": "a.mp4", "instruction": "x"},
        "got no 'target', needs 'source', 'target' and 'instruction', or 'video' and 'caption'.",
    ),
    (
        {"video": "a.mp4"},
        "got no 'caption', needs 'source', 'target' and 'instruction', or 'video' and 'caption'.",
    ),
    (pair("a.mp4", "gone.mp4", "x"), "got no file 'gone.mp4', needs a file that exists."),
    (pair("a.mp4", "\0", "x"), "got no file '\\x00', needs a file that exists."),
    (pair("a.mp4", "b.mp4", " \n "), "got an empty 'instruction', needs some text."),
    (pair("a.mp4", "", "x"), "got an empty 'target', needs some text."),
    (pair("a.mp4", 5, "x"), "got 'target' of type int, needs text."),
    (pair("a.mp4", "b.png", "x"), "got an image and a video, needs two images or two videos."),
    (
        {"video": "a.mp4", "caption": "a square"},
        "got a clip without an edit, needs a source and a target in stage 1.",
    ),
]


@pytest.mark.parametrize(("row", "reason"), BAD_ROWS)
def test_bad_row(folder, row, reason):
    rows, bad = read_rows(
        jsonl(folder / "data.jsonl", [pair("a.mp4", "b.mp4", "good"), "", row]), stage=1
    )
    assert [row.number for row in rows] == [1]
    assert bad == {3: f"row 3: {reason}"}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (
            pair("a.mp4", "b.mp4", "x"),
            "got a pair of videos, needs a pair of images, or a single video, in stage 0.",
        ),
        ({"video": "a.png", "caption": "x"}, "got an image as 'video', needs a video."),
    ],
)
def test_bad_row_of_stage_0(folder, row, reason):
    assert read_rows(jsonl(folder / "data.jsonl", [row]), stage=0) == ([], {1: f"row 1: {reason}"})


def test_good_rows(folder):
    """Instructions are cleaned as the nodes clean them, paths follow the file, other keys do not
    matter.
    """
    rows, bad = read_rows(
        jsonl(
            folder / "data.jsonl",
            [
                {**pair("a.mp4", str(folder / "b.mp4"), "make&nbsp;it  blue"), "score": 9},
                pair("a.png", "b.png", "x"),
            ],
        ),
        1,
    )
    assert bad == {}
    assert (rows[0].source, rows[0].target, rows[0].text) == (
        folder / "a.mp4",
        folder / "b.mp4",
        "make it blue",
    )
    assert [row.is_image for row in rows] == [False, True]


def test_no_data_file(tmp_path):
    with pytest.raises(
        RowError, match=r"no readable file \(No such file or directory\).*Set data to its path"
    ):
        read_rows(tmp_path / "none.jsonl", 1)


# --- frames ------------------------------------------------------------------------------------


def row_of(folder, source: str, target: str):
    rows, bad = read_rows(jsonl(folder / "one.jsonl", [pair(source, target, "x")]), 1)
    assert not bad
    return rows[0]


def test_frames_are_what_the_nodes_would_read(folder):
    clip(folder / "long.mp4", BLUE, frames=9, size=(48, 64))
    row = row_of(folder, "long.mp4", "long.mp4")
    source, target = read_row(row, SHAPE)
    assert source.shape == (5, 32, 32, 3) and torch.equal(source, target)
    fitted, _ = fit_clip(FileSource(folder / "long.mp4"), ClipRange(frames=5), area=32 * 32)
    assert torch.equal(source, fitted)


def test_frames_have_the_size_of_the_settings(folder):
    """Not the bucket's that editing would choose: the centre crop, by hand."""
    clip(folder / "wide.mp4", BLUE, size=(32, 96))
    found, _ = read_row(row_of(folder, "wide.mp4", "wide.mp4"), SHAPE)
    frames = FileSource(folder / "wide.mp4").frames(ClipRange(frames=5))
    by_hand = np.stack([resize_frame(frame, (32, 0, 64, 32), 32, 32) for frame in frames])
    assert torch.equal(found, torch.from_numpy(by_hand).float() / 255)


def test_pixels_that_are_not_square_are_shown_square(folder):
    """32x32 stored pixels, twice as wide as high, are a picture of 64x32, of which the middle is
    taken.
    """
    with av.open(str(folder / "flat.mp4"), "w") as file:
        video = file.add_stream("libx264", Fraction(8), options={"qp": "0"})
        video.width, video.height, video.pix_fmt = 32, 32, "yuv444p"
        video.codec_context.sample_aspect_ratio = Fraction(2)
        for _ in range(5):
            pixels = np.full((32, 32, 3), 255, np.uint8)
            pixels[:, :8] = pixels[:, 24:] = 0
            file.mux(video.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        file.mux(video.encode())
    source, _ = read_row(row_of(folder, "flat.mp4", "flat.mp4"), SHAPE)
    assert source.shape == (5, 32, 32, 3) and source[:, :, 1:-1].min() > 0.95


def test_target_of_another_resolution_and_the_same_shape(folder):
    clip(folder / "half.mp4", BLUE, size=(16, 16))
    assert read_row(row_of(folder, "a.mp4", "half.mp4"), SHAPE)[1].shape == (5, 32, 32, 3)


@pytest.mark.parametrize(
    ("source", "target", "reason"),
    [
        ("a.mp4", "short.mp4", "row 1: got 4 frames in 'short.mp4', needs 5."),
        ("short.mp4", "a.mp4", "row 1: got 4 frames in 'short.mp4', needs 5."),
        (
            "a.mp4",
            "wide.mp4",
            "row 1: got a target of 64x32, needs the shape of its source, 32x32.",
        ),
        (
            "a.mp4",
            "broken.mp4",
            (
                "row 1: video 'broken.mp4': got a file that is not a video, or is damaged, "
                "needs a video that plays (mp4, mov, webm, mkv, avi or gif)."
            ),
        ),
    ],
)
def test_files_that_do_not_fit(folder, source, target, reason):
    with pytest.raises(RowError) as caught:
        read_row(row_of(folder, source, target), SHAPE)
    assert str(caught.value) == reason


# --- batches -----------------------------------------------------------------------------------

THREE = [
    pair("a.mp4", "b.mp4", "make it blue"),
    pair("b.mp4", "c.mp4", "make it green"),
    pair("c.mp4", "a.mp4", "make it red"),
]


def data_of(folder, encoders, rows, **changes) -> RowsData:
    return RowsData(config(jsonl(folder / "data.jsonl", rows), folder / "out", **changes), encoders)


def rows_of(batch) -> list[int]:
    return [int(name.split()[3]) for name in batch.names]


def test_batch_holds_what_the_model_sees(folder, encoders):
    data = data_of(folder, encoders, THREE, batch_size=3, text_dropout=0.0)
    batch = data.batch(0, slice(0, 3))
    assert batch.target_latents.shape == batch.source_latents.shape == (3, 16, 2, 4, 4)
    assert batch.text.shape == (3, 512, 64) and batch.semantic.shape == (3, 65, 48)
    assert not any(
        value.requires_grad for value in (batch.target_latents, batch.text, batch.semantic)
    )
    assert sorted(rows_of(batch)) == [1, 2, 3]
    at = {row: index for index, row in enumerate(rows_of(batch))}
    # Row 1's target is row 2's source; what row 1 says is its own instruction behind the tag.
    assert torch.equal(batch.target_latents[at[1]], batch.source_latents[at[2]])
    assert torch.equal(batch.text[at[1]], encoders.text("[Video edit] make it blue"))
    assert not torch.equal(batch.text[at[1]], batch.text[at[2]])
    target = FileSource(folder / "b.mp4")
    first = torch.from_numpy(next(target.frames(ClipRange(frames=1)))) / 255
    torch.testing.assert_close(batch.semantic[at[1]], encoders.semantics.encode(first[None])[0])


def test_latents_are_normalised_as_wan_does(encoders):
    frames = torch.rand(5, 32, 32, 3, generator=torch.Generator().manual_seed(0))
    raw = encoders.vae.encode(frames.movedim(-1, 0)[None] * 2 - 1)[0]
    found = encoders.latents(frames)
    torch.testing.assert_close(found[0], (raw[0] + 0.7571) / 2.8184)
    torch.testing.assert_close(found[15], (raw[15] + 0.2921) / 1.9160)


def test_text_is_padded_with_zero_rows_and_cut_at_512(encoders):
    rows = encoders.text("[Video edit] remove the dog")
    filled = rows.abs().sum(1) > 0
    count = int(filled.sum())
    assert 5 < count < 40 and filled[:count].all() and not filled[count:].any()
    # Alone or padded, the encoder gives the same rows.
    ids = torch.zeros(1, 512, dtype=torch.long)
    pieces = [*encoders.tokens.pieces.encode("[Video edit] remove the dog"), 1]
    ids[0, : len(pieces)] = torch.tensor(pieces)
    torch.testing.assert_close(encoders.text_encoder(ids)[0], rows, atol=1e-5, rtol=1e-5)
    assert (encoders.text("dog " * 2000).abs().sum(1) > 0).all()


def test_every_row_once_before_any_again(folder, encoders):
    data = data_of(folder, encoders, THREE)
    seen = [row for step in range(6) for row in rows_of(data.batch(step, slice(0, 2)))]
    assert all(sorted(seen[start : start + 3]) == [1, 2, 3] for start in (0, 3, 6, 9))
    assert seen != seen[:3] * 4
    assert shuffle_rows(5, 0, "videos", 0) != shuffle_rows(5, 0, "videos", 1)


def test_batch_depends_on_seed_step_and_sample_alone(folder, encoders):
    """A new process that begins at step 3, or asks for one sample, sees the same."""
    first = data_of(folder, encoders, THREE)
    run = [first.batch(step, slice(0, 2)) for step in range(4)]
    again = data_of(folder, encoders, THREE)
    late, part = again.batch(3, slice(0, 2)), again.batch(3, slice(1, 2))
    assert late.names == run[3].names and part.names == run[3].names[1:]
    assert torch.equal(late.target_latents, run[3].target_latents) and torch.equal(
        late.text, run[3].text
    )
    assert torch.equal(part.source_latents, run[3].source_latents[1:])
    assert [b.names for b in run] != [
        data_of(folder, encoders, THREE, seed=1).batch(step, slice(0, 2)).names for step in range(4)
    ]


def test_text_dropout_leaves_the_bare_tag(folder, encoders):
    batch = data_of(folder, encoders, THREE, text_dropout=1.0).batch(0, slice(0, 2))
    assert torch.equal(batch.text[0], encoders.text("[Video edit]"))
    assert torch.equal(batch.text[0], batch.text[1])


def test_steps_without_semantics_have_none(folder, encoders):
    assert (
        data_of(folder, encoders, THREE, semantic_weight=0.0).batch(0, slice(0, 2)).semantic is None
    )


def test_image_steps_take_images(folder, encoders):
    rows = [*THREE, pair("a.png", "b.png", "x"), pair("b.png", "c.png", "y")]
    data = data_of(folder, encoders, rows, image_share=0.5, image_batch_size=4)
    seen = {}
    for step in range(8):
        image_step = data.config.is_image_step(step)
        batch = data.batch(step, slice(0, data.config.size_at(step)))
        assert batch.target_latents.shape == ((4, 16, 1, 4, 4) if image_step else (2, 16, 2, 4, 4))
        seen.setdefault(image_step, []).extend(rows_of(batch))
    assert set(seen[True]) == {4, 5} and set(seen[False]) == {1, 2, 3}


def test_a_damaged_row_is_replaced_by_the_next_good_one(folder, encoders, caplog):
    """Deterministically: whoever meets the row puts the same one in its place.

    It is read once and told once.
    """
    rows = [
        THREE[0],
        pair("a.mp4", "broken.mp4", "x"),
        pair("a.mp4", "short.mp4", "x"),
        THREE[2],
        "{",
        pair("broken.mp4", "a.mp4", "x"),
    ]
    with caplog.at_level(logging.WARNING):
        data = data_of(folder, encoders, rows, batch_size=5)
    assert [record.message for record in caplog.records] == [
        f"data.jsonl: 1 of 6 rows are left out so far, see {folder / 'out' / 'bad_rows.jsonl'}"
    ]
    assert [entry["row"] for entry in report(folder / "out")] == [5]
    order = shuffle_rows(5, 0, "videos", 0)
    stands_for = {0: 1, 1: 4, 2: 4, 3: 4, 4: 1}
    assert rows_of(data.batch(0, slice(0, 5))) == [stands_for[index] for index in order]
    caplog.clear()
    data.batch(1, slice(0, 5))
    assert not caplog.records
    found = report(folder / "out")
    assert found[0]["row"] == 5 and sorted(entry["row"] for entry in found) == [2, 3, 5, 6]
    assert {entry["row"]: entry["error"] for entry in found}[
        3
    ] == "row 3: got 4 frames in 'short.mp4', needs 5."
    with caplog.at_level(logging.WARNING):
        data.bad.report()
    assert caplog.records[-1].message.startswith("data.jsonl: 4 of 6 rows are left out so far")


def test_no_good_row_left(folder, encoders):
    with pytest.raises(
        RowError,
        match=r"data data.jsonl: got no good row with videos among 2, needs at least one. "
        r"Correct the rows, or set image_share to 1. row 1: got a line that is not",
    ):
        data_of(folder, encoders, ["{", pair("a.png", "b.png", "x")])
    data = data_of(
        folder, encoders, [pair("a.mp4", "short.mp4", "x"), pair("a.mp4", "broken.mp4", "x")]
    )
    with pytest.raises(
        RowError,
        match=r"no good row with videos among 2, needs at least one. Correct the rows. row",
    ):
        data.batch(0, slice(0, 1))


# --- stage 0 -----------------------------------------------------------------------------------

CLIPS = [
    {"video": f"{name}.mp4", "caption": f"a {colour} square"}
    for name, colour in (("a", "red"), ("b", "blue"), ("c", "green"))
]


def test_clips_are_to_be_restored(folder, encoders, monkeypatch):
    """Target: the clip.

    Source: perturbed. Text: the pretext's tag and the caption. All from the sample's stream.
    """
    texts = []
    monkeypatch.setattr(encoders, "text", lambda text: texts.append(text) or torch.zeros(512, 64))
    data = data_of(folder, encoders, CLIPS, stage=0, text_dropout=0.0, batch_size=12)
    batch = data.batch(0, slice(0, 12))
    captions = {number: row["caption"] for number, row in enumerate(CLIPS, 1)}
    tags = {pretext.tag for pretext in PRETEXTS.values()}
    drawn = [
        text.removesuffix(captions[row]).strip()
        for text, row in zip(texts, rows_of(batch), strict=True)
    ]
    assert set(drawn) <= tags and len(set(drawn)) >= 3
    for tag, source, target in zip(drawn, batch.source_latents, batch.target_latents, strict=True):
        assert torch.equal(source, target) == (tag == "")
    again = data_of(folder, encoders, CLIPS, stage=0, text_dropout=0.0, batch_size=12).batch(
        0, slice(3, 5)
    )
    assert torch.equal(again.source_latents, batch.source_latents[3:5])


def test_without_pretexts_a_clip_is_its_own_source(folder, encoders):
    batch = data_of(folder, encoders, CLIPS, stage=0, pretexts=False).batch(0, slice(0, 2))
    assert torch.equal(batch.source_latents, batch.target_latents)


# --- encoders ----------------------------------------------------------------------------------


def test_wrong_encoder_files(tmp_path, encoders):
    text, vae = models() / "text_encoders" / FILES["text_encoders"], models() / "vae" / FILES["vae"]
    with pytest.raises(CheckpointError, match="text_encoder .*gone.safetensors: got no file"):
        load_text_encoder(tmp_path / "gone.safetensors")
    with pytest.raises(CheckpointError, match="a Wan VAE, needs umT5"):
        load_text_encoder(vae)
    with pytest.raises(
        CheckpointError, match="vae sama_untrained_umt5.safetensors: got 0 tensors matched"
    ):
        load_vae(text)
    (tmp_path / "bad.pth").write_bytes(b"pickle?")
    with pytest.raises(CheckpointError, match="no readable weights"):
        load_text_encoder(tmp_path / "bad.pth")


def test_encoders_are_frozen(encoders):
    parts = (encoders.vae, encoders.text_encoder, encoders.semantics)
    assert not any(weight.requires_grad for part in parts for weight in part.parameters())


def test_wrong_widths(encoders):
    with pytest.raises(
        CheckpointError, match="text_encoder: got embeddings 64 wide, needs the model's 4096"
    ):
        encoders.check_text_width(4096)
    with pytest.raises(SamaError, match="PixelEncoder with tokens 48 wide, needs the model's 1152"):
        encoders.semantics.check_width(1152)


def test_frames_are_not_pooled(folder, encoders, monkeypatch):
    """Memory does not grow with the steps: nothing but the order of rows is kept."""
    reads = []
    monkeypatch.setattr(
        row_samples,
        "read_row",
        lambda row, *parts: reads.append(row.number) or read_row(row, *parts),
    )
    data = data_of(folder, encoders, THREE[:1])
    for step in range(3):
        data.batch(step, slice(0, 1))
    assert reads == [1, 1, 1]
