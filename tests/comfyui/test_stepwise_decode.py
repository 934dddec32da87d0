"""Decoding step by step gives ComfyUI's own frames bit for bit, from the start and the middle."""

import pytest
import torch


@pytest.fixture(scope="module")
def vae(comfyui, small):
    """Untrained, so that every layer looks back as far as it can."""
    from sama_core.comfyui.loaders import load_vae

    return load_vae(str(comfyui.models("vae") / small.vae))


def latent(count: int, side: int = 4) -> torch.Tensor:
    return torch.randn(1, 16, count, side, side, generator=torch.Generator().manual_seed(count))


def latent_of_tiles(count: int) -> torch.Tensor:
    """Of two reference tiles."""
    return torch.randn(1, 16, count, 34, 4, generator=torch.Generator().manual_seed(0))


def decode(vae, whole: torch.Tensor, step: int = 0, begin: int | None = None, **options):
    """Frames of all steps from `step` on, decoded from `begin` on."""
    from sama_core.comfyui.stepwise_decode import StepwiseDecoder, decoding_steps

    begin = step if begin is None else begin
    decoder = StepwiseDecoder(vae, whole.shape[2], **options)
    with torch.inference_mode():
        frames = [
            decoder.step(whole[:, :, where].contiguous())
            for where in decoding_steps(whole.shape[2], begin)
        ]
    return torch.cat(frames[step - begin :])


@pytest.mark.parametrize("count", [1, 2, 3, 6, 9])
def test_steps_give_the_frames_of_the_whole(vae, count):
    whole = latent(count)
    with torch.inference_mode():
        expected = vae.decode(whole).flatten(0, 1)
    assert expected.shape == (4 * count - 3, 32, 32, 3)
    assert torch.equal(decode(vae, whole), expected)


def test_steps_in_reference_tiles_give_the_frames_of_the_whole(vae):
    from sama_core.comfyui.conditioning import decode_latent

    whole = latent_of_tiles(5)
    with torch.inference_mode():
        expected = decode_latent(vae, whole, "reference tiles")
    assert torch.equal(decode(vae, whole, tiling="reference tiles"), expected)


@pytest.mark.parametrize("room, resting", [(0, 2 * 3), (float("inf"), 0)])
def test_caches_of_tiles_rest_in_ram_where_the_card_has_no_room(vae, monkeypatch, room, resting):
    """Two tiles, three steps: here the CPU is the card, and a device that is not there the RAM."""
    from sama_core.comfyui import stepwise_decode
    from sama_core.comfyui.conditioning import decode_latent

    whole, moves = latent_of_tiles(5), []

    def move(cache: list, device: torch.device) -> list:
        moves.append(device)
        return [part.clone() if torch.is_tensor(part) else part for part in cache]

    monkeypatch.setattr(stepwise_decode, "REST", torch.device("meta"))
    monkeypatch.setattr(stepwise_decode, "move", move)
    monkeypatch.setattr(stepwise_decode.StepwiseDecoder, "_room", lambda self, tile: room)
    with torch.inference_mode():
        expected = decode_latent(vae, whole, "reference tiles")
    assert torch.equal(decode(vae, whole, tiling="reference tiles"), expected)
    assert moves.count(torch.device("meta")) == resting


def test_the_room_beside_a_tile_is_what_comfyui_says(vae):
    from sama_core.comfyui.stepwise_decode import StepwiseDecoder

    decoder = StepwiseDecoder(vae, 5, "reference tiles")
    small, large = latent(2), latent(2, side=400)
    less = vae.memory_used_decode(large.shape, large.dtype)
    assert less - 2e9 < decoder._room(small) - decoder._room(large) < less + 2e9


def test_a_step_in_the_middle_is_right_after_its_warm_up_and_not_after_less(vae):
    """The decoder looks back LOOKS_BACK latent frames and no further: measured, not assumed."""
    from sama_core.comfyui.stepwise_decode import LOOKS_BACK, warm_up

    whole, step = latent(61, side=2), 24
    expected = decode(vae, whole)[1 + 8 * (step - 1) :]
    assert warm_up(step) == step - LOOKS_BACK // 2 == 5
    assert torch.equal(decode(vae, whole, step, warm_up(step)), expected)
    assert warm_up(3) == 0
    short = decode(vae, whole, step, step - 4)
    assert not torch.equal(short[:8], expected[:8])


def test_how_far_a_frame_looks_back(vae):
    """The last frames change with the latent frame LOOKS_BACK before theirs, and with none before
    that.
    """
    from sama_core.comfyui.stepwise_decode import LOOKS_BACK

    whole = latent(61, side=2)
    frames, reached = decode(vae, whole)[-4:], []
    for back in (0, 10, *range(LOOKS_BACK - 6, LOOKS_BACK + 6)):
        other = whole.clone()
        other[:, :, 60 - back] += 100
        if not torch.equal(decode(vae, other)[-4:], frames):
            reached.append(back)
    assert max(reached) == LOOKS_BACK


def test_too_little_memory_is_said(vae, monkeypatch):
    """ComfyUI then decodes in tiles without a cache, which would break the clip's joins."""
    import comfy.model_management

    from sama_core.errors import SamplingError

    def fail(*_given, **_options):
        raise comfy.model_management.OOM_EXCEPTION("no room")

    from sama_core.comfyui.stepwise_decode import StepwiseDecoder

    decoder = StepwiseDecoder(vae, 3)
    monkeypatch.setattr(decoder.core.model.decoder, "forward", fail)
    with pytest.raises(SamplingError, match="tiling"):
        decoder.step(latent(1))


def test_too_little_memory_for_a_tile_is_said(vae, monkeypatch):
    """ComfyUI's smaller tiles must not take the cache of the next one."""
    import comfy.model_management

    from sama_core.comfyui.stepwise_decode import StepwiseDecoder
    from sama_core.errors import SamplingError

    whole = latent_of_tiles(3)
    decoder = StepwiseDecoder(vae, 3, "reference tiles")
    network = decoder.core.model.decoder
    calls, original = [], network.forward

    def fail_once(*given, **options):
        calls.append(1)
        if len(calls) == 3:  # the first tile of the second step
            raise comfy.model_management.OOM_EXCEPTION("no room")
        return original(*given, **options)

    monkeypatch.setattr(network, "forward", fail_once)
    with torch.inference_mode(), pytest.raises(SamplingError, match="memory for decoding"):
        decoder.step(whole[:, :, :1].contiguous())
        decoder.step(whole[:, :, 1:].contiguous())
