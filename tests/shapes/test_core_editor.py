"""The core editor: batches, padding, guidance, and the very noise that ComfyUI draws."""

import pytest
import torch

from sama_core.errors import RuntimeSetupError
from sama_core.model.schedule import denoise, flow_sigmas
from sama_core.shapes.gate import Settings, load_core_editor
from sama_core.shapes.gate.clip_scores import to_bytes
from sama_core.shapes.gate.core_editor import ModelFiles, joint_noise
from sama_core.shapes.gate.evaluate import held_out_clips


@pytest.fixture(scope="module")
def batch():
    return held_out_clips("recolour", 0, 0, 2)


def test_a_clip_does_not_depend_on_its_batch(random_files, batch):
    """Two clips at once and each alone: the same bytes, but for a rounding's last digit."""
    editor = load_core_editor(random_files, Settings(steps=2, cfg=2.0))
    frames = to_bytes(batch.source)
    both = editor.edit(frames, batch.instructions, [7, 8]).frames
    alone = editor.edit(frames[1:], batch.instructions[1:], [8]).frames
    assert both.dtype == torch.uint8 and both.shape == frames.shape
    assert (both[1:].int() - alone.int()).abs().max() <= 1
    assert not both[1:].equal(editor.edit(frames[1:], batch.instructions[1:], [9]).frames)


def test_text_counts_as_padded_to_512_rows_and_the_negative_is_the_bare_tag(random_files, batch):
    """The same latents as the plain loop on 512 rows; the DiT's own attention is restored."""
    editor = load_core_editor(random_files, Settings(steps=2, shift=3.0, cfg=2.0))
    attention = [block.cross_attn.attention for block in editor.dit.blocks]
    with torch.inference_mode():
        source = editor.encode(to_bytes(batch.source[:1]))
        ours = editor._sample(source, batch.instructions[:1], [5])
        rows = [
            editor.text_encoder(editor.token_rows([text])) for text in (batch.instructions[0], "")
        ]
        positive, negative = (
            torch.nn.functional.pad(row, (0, 0, 0, 512 - row.shape[1])) for row in rows
        )
        config = editor.dit.config
        noise = joint_noise(source.shape[1:], (config.semantic_tokens, config.semantic_dim), 5)
        video, semantic = (part[None] for part in noise)
        plain = denoise(
            editor.dit, video, semantic, positive, negative, source, flow_sigmas(2, 3.0), 2.0
        )
    torch.testing.assert_close(ours, plain[0], rtol=1e-4, atol=1e-4)
    assert [block.cross_attn.attention for block in editor.dit.blocks] == attention


@pytest.mark.parametrize(("cfg", "calls"), [(1.0, 3), (2.0, 6)])
def test_cfg_1_runs_the_model_once_a_step(random_files, batch, cfg, calls):
    editor = load_core_editor(random_files, Settings(steps=3, cfg=cfg))
    counted = []
    editor.dit.register_forward_hook(lambda *_: counted.append(1))
    editor.edit(to_bytes(batch.source[:1]), batch.instructions[:1], [0])
    assert len(counted) == calls


def test_the_noise_is_comfyuis(comfyui):
    """Video noise as in core's `prepare_noise`, semantic noise as in SAMA's wrapper."""
    import comfy.sample

    from sama_core.model.semantic import semantic_noise

    video, semantic = joint_noise((16, 2, 4, 4), (65, 48), 11)
    expected = comfy.sample.prepare_noise(torch.zeros(1, 16, 2, 4, 4), 11)
    assert video.equal(expected[0])
    assert semantic.equal(semantic_noise((65, 48), 11, expected)[0])


def test_a_missing_file_is_named(random_files, tmp_path):
    files = ModelFiles(random_files.dit, tmp_path / "nowhere.safetensors", random_files.vae)
    with pytest.raises(
        RuntimeSetupError, match="--text-encoder: got no file .*nowhere.safetensors"
    ):
        load_core_editor(files, Settings())
