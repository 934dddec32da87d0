"""Memory runs out while SAMA samples: advice in the error, core's clean-up after it, and a whole
next run.
"""

import re

import pytest
import torch

from .graphs import output, whole_edit


@pytest.fixture
def failing(monkeypatch):
    """`failing(error)` makes the DiT raise at its second call; undone by `failing(None)`."""
    from sama_core.model.dit import SamaDiT

    original = SamaDiT.run_blocks

    def arm(error):
        calls = []

        def run_blocks(*args, **kwargs):
            calls.append(1)
            if len(calls) == 2:
                raise error
            return original(*args, **kwargs)

        monkeypatch.setattr(SamaDiT, "run_blocks", original if error is None else run_blocks)

    return arm


def failed(edit, link) -> tuple[str, dict]:
    """The text the artist sees, and the error's message to the browser."""
    result = edit.comfyui.run(edit.nodes, keep=[link[0]])
    assert not result.ok
    details = next(data for event, data in result.messages if event == "execution_error")
    return details["exception_message"], details


@pytest.mark.parametrize("node", ["KSampler", "SamplerCustomAdvanced", "SAMAEdit"])
def test_advice_stands_in_the_error(edit, failing, node):
    failing(torch.OutOfMemoryError("Allocation on device"))
    if node == "SAMAEdit":
        link = whole_edit(edit)
    elif node == "KSampler":
        link = edit.ksampler()
    else:
        link = edit.custom(edit.add("SAMASigmas", steps=3, shift=5.0, denoise=1.0))
    text, details = failed(edit, link)
    assert details["node_type"] == node and details["exception_type"] == "torch.OutOfMemoryError"
    assert text.startswith(
        "SAMA ran out of memory. Nothing is broken: change a setting and queue it again.\nSAMA "
        "plan: 5 frames of 32x32, 3 steps, cfg 5\nModel: sama_untrained.safetensors, 2.2 million "
        "weights"
    )
    assert "\nTokens: 81 = source 8 + semantic 65 + target 8\n" in text
    assert "2 calls a step (cfg 5)" in text
    assert re.search(
        r"\nRAM: \d+ MiB \(weights \d+ MiB, text encoder, VAE and frames \d+ MiB, activations ",
        text,
    )
    assert "\n  - closing other programs\n\nAllocation on device\n" in text
    # Core took it for what it is: it unloads every model and adds its own words.
    assert "This error means you ran out of memory on your GPU." in text


def test_next_graph_is_as_if_nothing_had_happened(edit, sampled, failing):
    """Three runs fail, each with another error; models are unloaded by core, and the fourth equals
    a clean one.
    """
    import comfy.model_management as management

    for error in (
        torch.OutOfMemoryError("one"),
        MemoryError("two"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes."),
    ):
        failing(error)
        text, _ = failed(edit, edit.ksampler())
        assert text.startswith("SAMA ran out of memory. ") and str(error.args[0]) in text
    failing(torch.OutOfMemoryError("four"))
    failed(edit, edit.ksampler())
    assert management.current_loaded_models == []
    failing(None)
    latent = edit.sample()
    assert torch.equal(latent["video"], sampled["video"])
    assert torch.equal(latent["semantic"], sampled["semantic"])


def test_same_queue_item_again_with_kept_nodes(edit, sampled, failing):
    """As a user does it: the failed item is queued again, and the loaders do not run again."""
    link = edit.ksampler()
    failing(torch.OutOfMemoryError("simulated"))
    failed(edit, link)
    failing(None)
    latent = edit.values(link, warm=True)
    assert torch.equal(latent["samples"], sampled["video"])


def test_memory_may_run_out_while_weights_are_loaded(edit, sampled, monkeypatch):
    import comfy.sampler_helpers

    with monkeypatch.context() as broken:

        def full(*args, **kwargs):
            raise torch.OutOfMemoryError("loading")

        broken.setattr(comfy.sampler_helpers, "_prepare_sampling", full)
        text, _ = failed(edit, edit.ksampler())
    assert text.startswith("SAMA ran out of memory. ") and "\n\nloading\n" in text
    assert torch.equal(edit.sample()["video"], sampled["video"])


@pytest.mark.parametrize(
    "error", [RuntimeError("mat1 and mat2"), ValueError("a bug"), KeyError("key")]
)
def test_other_errors_pass_as_they_are(edit, failing, error):
    failing(error)
    text, _ = failed(edit, edit.ksampler())
    assert "SAMA ran out of memory" not in text
    assert text.startswith(str(error))


def test_advice_that_fails_does_not_hide_the_error(edit, failing, monkeypatch, caplog):
    from sama_core.comfyui import out_of_memory

    def broken(*args):
        raise ZeroDivisionError("no plan")

    monkeypatch.setattr(out_of_memory, "plan_of_loaded", broken)
    failing(torch.OutOfMemoryError("the error itself"))
    text, _ = failed(edit, edit.ksampler())
    assert text.startswith("the error itself\n")
    assert "no advice could be made" in caplog.text


def test_a_machine_that_cannot_be_read_does_not_stop_the_run(edit, sampled, monkeypatch, caplog):
    from sama_core.comfyui import out_of_memory

    def broken(*args):
        raise OSError("no figures")

    monkeypatch.setattr(out_of_memory, "this_machine", broken)
    assert torch.equal(edit.sample()["video"], sampled["video"])
    assert "an out-of-memory error would come without advice" in caplog.text


def test_batches_and_windows_are_told(edit, failing):
    """Of a batch each sample has its activations; in a context window only its frames count."""
    failing(torch.OutOfMemoryError("simulated"))
    many = edit.add("RepeatLatentBatch", samples=edit.latent, amount=2)
    text, _ = failed(edit, edit.ksampler(latent_image=many))
    assert "\nThese figures are for one clip; a batch of 2 needs 2 times the activations.\n" in text
    edit.nodes[edit.source[0]]["inputs"]["frames"] = 9
    edit.patch(
        "WanContextWindowsManual",
        context_length=5,
        context_overlap=1,
        context_schedule="standard_static",
        context_stride=1,
        closed_loop=False,
        fuse_method="pyramid",
        freenoise=False,
        retain_first_frame=False,
        split_conds_to_windows=False,
    )
    failing(torch.OutOfMemoryError("simulated"))
    text, _ = failed(edit, edit.ksampler())
    assert "SAMA plan: 5 frames of 32x32" in text


def test_guiders_without_a_guidance_strength(edit, failing):
    """BasicGuider samples the instruction alone."""
    failing(torch.OutOfMemoryError("simulated"))
    guider = edit.add("BasicGuider", model=edit.model, conditioning=edit.positive)
    sigmas = edit.add("SAMASigmas", steps=3, shift=5.0, denoise=1.0)
    link = edit.add(
        "SamplerCustomAdvanced",
        noise=edit.add("RandomNoise", noise_seed=1),
        guider=guider,
        sampler=edit.add("KSamplerSelect", sampler_name="euler"),
        sigmas=sigmas,
        latent_image=edit.latent,
    )
    text, _ = failed(edit, output(link, 0))
    assert "1 call a step (cfg 1)" in text
