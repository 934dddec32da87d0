"""Wrong input gets one sentence: what was got, what is needed, what to set.

And it gets it early.
"""

from fractions import Fraction

import pytest
import torch
from safetensors.torch import save_file

from ..comfyui.graphs import CLIP_FILE, Graph, output, whole_edit


def failure(graph: Graph, link: list) -> str:
    """The one error of a run that must fail."""
    result = graph.comfyui.run(graph.nodes, keep=[link[0]])
    assert not result.ok
    assert len(result.errors) == 1, result.errors
    return result.errors[0]


# --- instruction -------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "   ", "\n\t", "&nbsp;"])
@pytest.mark.parametrize("node", ["SAMAEdit", "SAMAInstruction", "SAMAAnchorPreview"])
def test_empty_instruction_is_refused_before_anything_runs(edit, node, text):
    if node == "SAMAInstruction":
        link = edit.add(node, clip=edit.clip, instruction=text, edit_tag=True)
    else:
        link = whole_edit(edit, instruction=text)
        edit.nodes[link[0]]["class_type"] = node
        if node == "SAMAAnchorPreview":
            edit.nodes[link[0]]["inputs"] |= {"anchors": 1, "first_frame": 0}
    result = edit.comfyui.run(edit.nodes, keep=[link[0]])
    assert "The instruction is empty" in result.errors[0]
    assert not any(event == "executing" for event, _ in result.messages)


def test_an_empty_instruction_from_another_node_is_refused_too(edit):
    text = edit.add("PrimitiveString", value="  ")
    link = edit.add("SAMAInstruction", clip=edit.clip, instruction=text, edit_tag=True)
    assert "got an empty text" in failure(edit, link)


def tokens_of(edit, text: str, tag: bool = True) -> list[int]:
    """Ids that reach the encoder for an instruction, padding removed."""
    from sama_core.comfyui import conditioning

    seen = []
    clip = edit.values(edit.clip)
    original = clip.encode_from_tokens_scheduled
    clip.encode_from_tokens_scheduled = lambda tokens: seen.append(tokens) or original(tokens)
    with torch.inference_mode():
        conditioning.encode_instruction(clip, text, tag)
    row = seen[0]["umt5xxl"][0]
    assert {weight for _, weight in row} == {1.0}
    ids = [token for token, _ in row]
    assert len(ids) == 512
    return ids[: ids.index(1) + 1]


@pytest.mark.parametrize(
    "text", ["make it (red:1.3)", "a ((big)) dog", r"keep the \(brackets\)", "100% (sure)"]
)
def test_parentheses_are_text_not_weights(edit, text):
    """The ids are those of the plain text, all with weight 1."""
    tokenizer = edit.values(edit.clip).tokenizer
    plain = getattr(tokenizer, tokenizer.clip).tokenizer(f"[Video edit] {text}")["input_ids"]
    assert tokens_of(edit, text) == plain


def test_long_text_is_cut_at_512_tokens_with_a_word(edit, caplog):
    """As the reference tokenizer truncates: 511 tokens of text and the end token."""
    ids = tokens_of(edit, "red circle " * 600)
    assert len(ids) == 512
    assert ids[-1] == 1
    assert "the model reads the first 511" in caplog.text


def test_tag_and_negative(edit):
    """Positive carries the trained tag, negative is the bare tag; both without it on request."""
    tagged = tokens_of(edit, "make it snow")
    plain = tokens_of(edit, "make it snow", tag=False)
    assert tagged[-len(plain) :] != tagged
    assert len(tagged) > len(plain)


# --- frames and sizes --------------------------------------------------------------------------


def images(graph: Graph, count: int, width: int, height: int) -> list:
    return graph.add("EmptyImage", width=width, height=height, batch_size=count, color=8421504)


@pytest.mark.parametrize(
    ("count", "width", "height", "words"),
    [
        (7, 32, 32, ["got 7", "4k+1", "Use 9 frames"]),
        (5, 33, 47, ["got 33x47", "multiples of 16", "Use 48x48"]),
    ],
)
@pytest.mark.parametrize("node", ["SAMAEdit", "SAMAEditConditioning"])
def test_unfitted_frames(edit, node, count, width, height, words):
    edit.source = images(edit, count, width, height)
    if node == "SAMAEdit":
        link = whole_edit(edit)
    else:
        link = edit.add(
            node,
            positive=edit.positive,
            negative=edit.negative,
            vae=edit.vae,
            frames=edit.source,
            tiling="automatic",
        )
    message = failure(edit, link)
    assert all(word in message for word in words), message


@pytest.mark.parametrize(("size", "count"), [((33, 47), 3), ((1, 1), 1), ((640, 33), 6)])
def test_odd_sizes_are_fitted_and_come_back(comfyui, small, size, count):
    """Source Video takes any size and count; Finish Video gives exactly them back."""
    graph = Graph()
    graph.comfyui = comfyui
    source = graph.add(
        "SAMASourceVideo",
        images=images(graph, count, *size),
        frames=0,
        start=0,
        stride=1,
        area=32 * 32,
        fps=10.0,
    )
    finish = graph.add("SAMAFinishVideo", frames=source, clip_info=output(source, 1))
    result = comfyui.run(graph.nodes, keep=[source[0], finish[0]]).check()
    frames, _info, audio, fps, frame_count = result.values[source[0]]
    assert frames.shape[0] % 4 == 1
    assert frames.shape[1] % 32 == frames.shape[2] % 32 == 0
    assert (fps, frame_count, audio) == (10.0, count, None)
    parts = result.values[finish[0]][0].get_components()
    assert tuple(parts.images.shape) == (count, size[1], size[0], 3)
    assert parts.frame_rate == 10


def test_5000_frames_with_81_asked(comfyui, small):
    """Only the wanted range is read; the rest of a long clip costs nothing."""
    from ..harness.write_clip import write_clip

    frames = (torch.full((16, 16, 3), i % 256, dtype=torch.uint8).numpy() for i in range(5000))
    write_clip(comfyui.base / "input" / "long.mp4", frames, Fraction(60))
    graph = Graph()
    video = graph.add("LoadVideo", file="long.mp4")
    source = graph.add(
        "SAMASourceVideo", video=video, frames=81, start=100, stride=2, area=32 * 32, fps=24.0
    )
    result = comfyui.run(graph.nodes, keep=[source[0]]).check()
    images_out, _, _, fps, count = result.values[source[0]]
    assert (images_out.shape[0], count, fps) == (81, 81, 30.0)
    # Grey levels rise by 2 from 100; H.264 keeps them within a few levels.
    levels = images_out[:, 16, 16, 0] * 255
    assert (levels[:70] - torch.arange(100, 240, 2)).abs().max() < 6


def test_source_needs_exactly_one_input(edit):
    nothing = edit.add("SAMASourceVideo", frames=1, start=0, stride=1, area=0, fps=24.0)
    assert "neither a video nor images" in failure(edit, nothing)
    edit.nodes.pop(nothing[0])
    video = edit.add("LoadVideo", file=CLIP_FILE)
    both = edit.add(
        "SAMASourceVideo",
        video=video,
        images=images(edit, 1, 8, 8),
        frames=1,
        start=0,
        stride=1,
        area=0,
        fps=24.0,
    )
    assert "both a video and images" in failure(edit, both)


@pytest.mark.parametrize(
    ("start", "words"), [(9, "start from 0 to 8"), (5000, "start from 0 to 8")]
)
def test_start_beyond_the_end(edit, start, words):
    edit.nodes[edit.source[0]]["inputs"]["start"] = start
    assert words in failure(edit, edit.source)


def test_a_text_file_named_mp4(comfyui, edit):
    (comfyui.base / "input" / "notes.mp4").write_text("these are notes, not a video")
    edit.nodes[edit.source[0]]["inputs"]["video"] = edit.add("LoadVideo", file="notes.mp4")
    message = failure(edit, edit.source)
    assert "notes.mp4" in message
    assert "ClipError" in message


def test_source_of_another_size_than_the_latent(edit):
    latent = edit.add("EmptyHunyuanLatentVideo", width=64, height=32, length=5, batch_size=1)
    message = failure(edit, edit.ksampler(latent_image=latent))
    assert (
        "got 2 latent frames of 32x32 pixels, needs the same size as the latent being sampled"
        in message
    )
    assert "2 latent frames of 64x32 pixels" in message


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((1, 16, 4, 4), "got an image latent with 16 channels"),
        ((1, 48, 2, 4, 4), "got a video latent with 48 channels"),
    ],
)
def test_latents_of_another_vae(comfyui, edit, shape, words):
    """An image latent would broadcast to a video, a Wan 2.2 one would fail inside core."""
    from sama_core.errors import ConditioningError

    model = edit.values(edit.model).model
    with pytest.raises(ConditioningError, match=words):
        model.extra_conds(reference_latents=[torch.ones(shape)], device="cpu")


def test_latent_that_patches_do_not_divide(edit):
    latent = edit.add("EmptyHunyuanLatentVideo", width=40, height=40, length=5, batch_size=1)
    prompts = edit.add("SAMAInstruction", clip=edit.clip, instruction="x", edit_tag=True)
    message = failure(
        edit, edit.ksampler(latent_image=latent, positive=prompts, negative=output(prompts, 1))
    )
    # EmptyHunyuanLatentVideo rounds 40 pixels down to 5 latent cells.
    assert "got 5x5, needs an even width and height" in message


def test_finishing_frames_of_another_clip(edit):
    wrong = images(edit, 9, 32, 32)
    message = failure(
        edit, edit.add("SAMAFinishVideo", frames=wrong, clip_info=output(edit.source, 1))
    )
    assert "9" in message
    assert "5" in message


# --- the wrong thing in a socket ---------------------------------------------------------------


def test_another_vae(comfyui, edit):
    """A loaded VAE of another kind is named before anything is encoded."""

    class FluxVAE:
        latent_channels, latent_dim = 16, 2

    from sama_core.comfyui.conditioning import require_wan_vae
    from sama_core.errors import ConditioningError

    with pytest.raises(
        ConditioningError, match="got an image VAE \\(Flux, SD3\\), needs the Wan 2.1 video VAE"
    ):
        require_wan_vae(FluxVAE())


def test_another_text_encoder(comfyui):
    """A T5 of Flux or SD3 in the clip socket."""

    class T5:
        @staticmethod
        def tokenize(text):
            return {"t5xxl": [[(1, 1.0)]]}

    from sama_core.comfyui.conditioning import encode_instruction
    from sama_core.errors import ConditioningError

    with pytest.raises(
        ConditioningError, match="got a T5-XXL \\(Flux, SD3\\) encoder, needs umT5-xxl"
    ):
        encode_instruction(T5(), "make it red")


def test_text_of_another_width_is_named_before_sampling(comfyui, edit):
    """Conditioning of another encoder reaches the sampler: one sentence, no matrix error."""
    from sama_core.errors import ConditioningError

    model = edit.values(edit.model).model
    with pytest.raises(ConditioningError, match="got 768 wide, needs 64 wide"):
        model.extra_conds(cross_attn=torch.zeros(1, 77, 768), device="cpu")


def test_a_wan_2_2_vae_file(comfyui, small):
    name = "wan22.safetensors"
    keys = [
        "decoder.middle.0.residual.0.gamma",
        "decoder.upsamples.0.upsamples.0.residual.2.weight",
    ]
    save_file({key: torch.zeros(1) for key in keys}, comfyui.models("vae") / name)
    result = comfyui.run(
        {"1": {"class_type": "SAMALoadVAE", "inputs": {"vae_name": name}}}, keep=["1"]
    )
    assert "got a Wan 2.2 VAE, needs the Wan 2.1 VAE" in result.errors[0]


def test_names_cannot_leave_the_model_folders(comfyui, tmp_path):
    secret = tmp_path / "secret.safetensors"
    save_file({"x": torch.zeros(1)}, secret)
    for name in (f"../../../..{secret}", str(secret), "..\\secret.safetensors"):
        result = comfyui.run(
            {"1": {"class_type": "SAMALoadVAE", "inputs": {"vae_name": name}}}, keep=["1"]
        )
        assert not result.ok
        assert "is not in models/vae" in result.errors[0]


# --- saving ------------------------------------------------------------------------------------


def save(edit, folder: str) -> list:
    video = edit.add(
        "SAMAFinishVideo",
        frames=edit.source,
        clip_info=output(edit.source, 1),
        audio=output(edit.source, 2),
    )
    return edit.add(
        "SaveVideo", video=video, filename_prefix=f"{folder}/disk", format="auto", codec="auto"
    )


@pytest.mark.parametrize("moment", ["while encoding", "at the end"])
def test_disk_full_at_save_leaves_nothing_behind(edit, monkeypatch, moment):
    """No half-written file in the output folder, and a sentence that names the cause."""
    import errno

    from sama_core.clip import save as saving

    original = saving._write

    def full(target, *args):
        if moment == "at the end":
            original(target, *args)
        else:
            with open(target, "wb") as file:
                file.write(b"half a")
        raise OSError(errno.ENOSPC, "No space left on device")

    folder = edit.comfyui.base / "output" / f"full {moment}"
    link = save(edit, folder.name)
    with monkeypatch.context() as disk:
        disk.setattr(saving, "_write", full)
        message = failure(edit, link)
    assert "got No space left on device" in message
    assert "Free disk space" in message
    assert list(folder.iterdir()) == []
    edit.comfyui.run(edit.nodes).check()
    assert [file.name for file in folder.iterdir()] == ["disk_00001_.mp4"]
