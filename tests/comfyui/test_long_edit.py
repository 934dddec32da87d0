"""SAMA Long Edit in ComfyUI's own executor: one segment is SAMA Edit, many are one clip, and
nothing is done twice.
"""

import pytest
import torch

from sama_core.weights.write import write_safetensors

from .graphs import LONG_FRAMES, long_edit, long_graph, spoken, whole_edit


def run(comfyui, small, frames=LONG_FRAMES, patch=None, **changes) -> torch.Tensor:
    edit = long_graph(comfyui, small, frames)
    if patch:
        patch(edit)
    return edit.values(long_edit(edit, **changes))


def test_one_segment_is_the_plain_edit_bit_for_bit(comfyui, small, store):
    edit = long_graph(comfyui, small, frames=17)
    plain = edit.values(whole_edit(edit, steps=2, cfg=1.0))
    assert torch.equal(run(comfyui, small, frames=17), plain)


def test_segments_become_one_clip_of_the_same_length(comfyui, small, store, sampled_segments):
    frames = run(comfyui, small)
    assert frames.shape[0] == LONG_FRAMES and frames.isfinite().all()
    assert sampled_segments == [17, 17, 17]
    first_alone = run(comfyui, small, frames=17)
    assert (
        frames[:9] - first_alone[:9]
    ).abs().max() < 1e-4  # before the first overlap: frames 13 to 16


def test_a_second_run_samples_nothing_and_gives_the_same(comfyui, small, store, sampled_segments):
    first = run(comfyui, small)
    del sampled_segments[:]
    assert torch.equal(run(comfyui, small), first)
    assert sampled_segments == []


def lora_patch(strength):
    """A core LoRA node in front of the edit; `lora` is written where ComfyUI looks."""

    def patch(edit):
        from safetensors.torch import save_file

        name, generator = "long_lora.safetensors", torch.Generator().manual_seed(0)
        weight = "diffusion_model.blocks.0.self_attn.q"
        save_file(
            {
                f"{weight}.lora_A.weight": torch.randn(2, 256, generator=generator),
                f"{weight}.lora_B.weight": torch.randn(256, 2, generator=generator),
            },
            edit.comfyui.models("loras") / name,
        )
        edit.patch("LoraLoaderModelOnly", lora_name=name, strength_model=strength)

    return patch


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 2},
        {"steps": 3},
        {"cfg": 2.0},
        {"shift": 3.0},
        {"sampler_name": "heun"},
        {"instruction": "remove it"},
        {"edit_tag": False},
        {"patch": lora_patch(0.5)},
    ],
)
def test_a_changed_setting_computes_all_anew(comfyui, small, store, sampled_segments, change):
    run(comfyui, small, frames=17)
    run(comfyui, small, frames=17, **change)
    assert sampled_segments == [17, 17]
    run(comfyui, small, frames=17, **change)
    assert sampled_segments == [17, 17]


def test_a_changed_lora_strength_computes_anew(comfyui, small, store, sampled_segments):
    for strength in (0.5, 0.7, 0.5):
        run(comfyui, small, frames=17, patch=lora_patch(strength))
    assert sampled_segments == [17, 17]


def test_what_does_not_decide_a_segment_is_not_part_of_its_key(
    comfyui, small, store, sampled_segments
):
    run(comfyui, small)
    del sampled_segments[:]
    run(comfyui, small, anchor_colours=True)
    assert sampled_segments == []


def test_a_longer_clip_keeps_the_segments_it_had(comfyui, small, store, sampled_segments):
    run(comfyui, small, frames=29)
    assert sampled_segments == [17, 17]
    run(comfyui, small, frames=41)
    assert sampled_segments == [17, 17, 17]


def test_a_damaged_entry_is_computed_again(comfyui, small, store, sampled_segments):
    first = run(comfyui, small)
    path = store.entries()[1].path
    path.write_bytes(path.read_bytes()[:-3])
    del sampled_segments[:]
    assert torch.equal(run(comfyui, small), first)
    assert sampled_segments == [17]


def test_without_the_store_nothing_is_kept(comfyui, small, store):
    run(comfyui, small, frames=17, keep_segments=False)
    assert store.entries() == []


def test_the_store_node_shows_and_clears(comfyui, small, store):
    run(comfyui, small)
    edit = long_graph(comfyui, small)
    shown = edit.values(edit.add("SAMASegmentStore", action="show"))
    assert shown.startswith("3 segments, ")
    code = shown.removesuffix(".").split()[-1]
    for wrong in ({}, {"confirm": ""}, {"confirm": "clear"}, {"confirm": code[:-1]}):
        said = edit.values(edit.add("SAMASegmentStore", action="clear", **wrong))
        assert (
            said.startswith("Nothing was removed: confirm says ") and f"has to say {code} " in said
        )
    assert edit.values(edit.add("SAMASegmentStore", action="show", confirm=code)) == shown
    cleared = edit.values(edit.add("SAMASegmentStore", action="clear", confirm=f" {code.upper()} "))
    assert cleared.startswith("3 segments removed. 0 segments")
    assert edit.values(edit.add("SAMASegmentStore", action="clear", confirm=code)).startswith(
        "0 segments, 0 KiB of "
    )
    assert store.entries() == []


def test_segments_of_another_version_are_reported(comfyui, small, store, caplog):
    caplog.set_level("INFO")
    run(comfyui, small, frames=17)
    assert "of another version" not in caplog.text
    write_safetensors(store.path("aa"), {"latent": torch.ones(1)})
    run(comfyui, small, frames=17)
    assert "are of another version and are not used: 1." in caplog.text


def test_an_overlap_as_long_as_the_segment_is_refused_before_sampling(
    comfyui, small, store, sampled_segments
):
    edit = long_graph(comfyui, small)
    link = long_edit(edit, overlap_frames=16)
    result = comfyui.run(edit.nodes, keep=[link[0]])
    assert "Set the segment to" in "".join(result.errors) and sampled_segments == []


def test_a_mask_keeps_the_rest_bit_for_bit(comfyui, small, store, sampled_segments):
    edit = long_graph(comfyui, small)
    source = edit.values(edit.source)
    blank = edit.add("SolidMask", value=0.0, width=32, height=32)
    white = edit.add("SolidMask", value=1.0, width=16, height=16)
    still = edit.add("MaskComposite", destination=blank, source=white, x=8, y=8, operation="add")
    frames = edit.values(long_edit(edit, mask=still))
    assert torch.equal(frames[:, :8], source[:, :8]) and torch.equal(
        frames[:, :, 24:], source[:, :, 24:]
    )
    assert not torch.equal(frames[:, 8:24, 8:24], source[:, 8:24, 8:24])
    assert sampled_segments == [17, 17, 17]


def test_segments_without_any_mask_are_not_sampled(comfyui, small, store, sampled_segments):
    from sama_core.comfyui.edit import EditSettings
    from sama_core.comfyui.long_edit import LongSettings, edit_long

    edit = long_graph(comfyui, small)
    parts = [edit.values(link) for link in (edit.model, edit.clip, edit.vae, edit.source)]
    mask = torch.zeros(LONG_FRAMES, 32, 32)
    mask[:8, 4:20, 4:20] = 1
    settings = EditSettings("make it red", steps=2, cfg=1.0)
    with torch.inference_mode():
        frames = edit_long(*parts, settings, LongSettings(17, 4, False), None, mask=mask)
    assert sampled_segments == [17]
    assert torch.equal(frames[8:], parts[3][8:])


def test_neighbouring_seeds_share_no_noise(comfyui, small, store, monkeypatch):
    """Each segment's own stretch of noise and the seed of its sampler, for seeds 1 and 2; and the
    seeds of 0.1.0.
    """
    import comfy.sample

    from sama_core.comfyui.edit import EditRun
    from sama_core.long import segment_seed

    drawn, seeds = [], []
    noise, sample = comfy.sample.prepare_noise, EditRun.sample
    monkeypatch.setattr(
        comfy.sample, "prepare_noise", lambda *args: drawn.append(args[-1]) or noise(*args)
    )
    monkeypatch.setattr(EditRun, "sample", lambda *args: seeds.append(args[-1]) or sample(*args))
    for seed in (1, 2):
        run(comfyui, small, seed=seed, keep_segments=False)
    assert drawn == seeds == [segment_seed(seed, number) for seed in (1, 2) for number in range(3)]
    assert len(set(drawn)) == 6
    del drawn[:], seeds[:]
    run(comfyui, small, keep_segments=False, segment_seeds="consecutive")
    assert (drawn, seeds) == ([1, 2, 3], [1, 1, 1])


def test_consecutive_seeds_give_the_edit_of_before(comfyui, small, store):
    """The literal noise of version 0.1: segment n's own is that of seed + n, and every sampler's
    seed is the clip's.
    """
    import comfy.sample
    import comfy.samplers

    from sama_core.comfyui import conditioning
    from sama_core.long import blend_segments, plan_segments
    from sama_core.model.schedule import flow_sigmas
    from sama_core.region import FittedClip

    edit = long_graph(comfyui, small)
    found = edit.values(
        long_edit(edit, sampler_name="euler_ancestral", segment_seeds="consecutive")
    )
    model, clip, vae, frames = (
        edit.values(link) for link in (edit.model, edit.clip, edit.vae, edit.source)
    )
    segments, tape, latents, reached = plan_segments(9, 5, 1), [], [], 0
    for number, segment in enumerate(segments):
        own = comfy.sample.prepare_noise(torch.zeros(1, 16, 5, 4, 4), 1 + number)
        tape.append(own[:, :, reached - segment.first :])
        reached = segment.end
    with torch.inference_mode():
        positive, negative = conditioning.encode_instruction(clip, "make the circle red")
        for segment in segments:
            source = conditioning.encode_source(vae, FittedClip.check(frames[segment.frames]))
            latents.append(
                (
                    segment,
                    comfy.sample.sample_custom(
                        model,
                        torch.cat(tape, 2)[:, :, segment.first : segment.end],
                        1.0,
                        comfy.samplers.sampler_object("euler_ancestral"),
                        flow_sigmas(2, 5.0),
                        conditioning.attach_source(positive, source),
                        conditioning.attach_source(negative, source),
                        torch.zeros_like(source),
                        disable_pbar=True,
                        seed=1,
                    ),
                )
            )
        assert torch.equal(found, conditioning.decode_latent(vae, blend_segments(latents, 9)))


def test_the_first_segment_is_the_same_with_either_seeds(comfyui, small, store, sampled_segments):
    """So what was kept of it before serves on."""
    run(comfyui, small, segment_seeds="consecutive")
    del sampled_segments[:]
    run(comfyui, small)
    assert sampled_segments == [17, 17]


def test_an_interrupt_keeps_finished_segments_and_leaves_the_store_whole(
    comfyui, small, store, sampled_segments
):
    """Stopped in the second of three segments; queued again, it goes on, and the result is that of
    one go.
    """
    edit = long_graph(comfyui, small)
    link = long_edit(edit, steps=4)
    seen = comfyui.run(edit.nodes, keep=[link[0]]).check()
    whole, steps = (
        seen.values[link[0]][0],
        [step.value for step in seen.progress if step.total == 21],
    )
    assert 11 in steps and steps[-1] == 21
    store.clear()
    del sampled_segments[:]
    before = next(
        number for number, step in enumerate(seen.progress) if step.total == 21 and step.value >= 11
    )
    comfyui.interrupt_after(before + 1)
    assert comfyui.run(edit.nodes, keep=[link[0]]).interrupted
    assert sampled_segments == [17, 17] and len(store.entries()) == 1
    assert [path.name for path in store.folder.iterdir()] == [store.entries()[0].path.name]
    assert torch.equal(edit.values(link), whole)
    assert sampled_segments == [17, 17, 17, 17]


def test_the_advice_on_distilled_loras_stands_before_every_step(comfyui, small, store):
    """As in SAMA Edit; the segment's place stays in view."""
    from .test_distilled import LIGHTX2V

    lora_patch(1.0)(edit := long_graph(comfyui, small, frames=29))
    (comfyui.models("loras") / "long_lora.safetensors").replace(comfyui.models("loras") / LIGHTX2V)
    node = edit.nodes[edit.model[0]]
    node |= {
        "class_type": "SAMALoadLora",
        "inputs": {"model": node["inputs"]["model"], "lora_name": LIGHTX2V, "strength": 1.0},
    }
    result = comfyui.run(edit.nodes, keep=[long_edit(edit, cfg=5.0)[0]]).check()
    advice = (
        f"{LIGHTX2V} has the guidance inside, and cfg 5 guides a second time and doubles the time "
        "of each step"
    )
    last = f", segment 2 of 2, {advice}: set cfg to 1"
    steps = [line for line in spoken(result) if line.startswith("SAMA: sampling, step 1 of 2, ")]
    assert [line.endswith(last) for line in steps] == [False, True]
