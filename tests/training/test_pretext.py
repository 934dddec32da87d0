"""Motion pretexts: every tensor of golden/pretext, literal expectations, and the draw's
proportions.

The released operators draw with torch's CPU generator, so equal seeds give equal decisions. What
SAMA does not use (random speeds, alternating speeds) is decided here, as the release decides it,
and applied by our functions.
"""

import math
import pickle
from collections import Counter
from itertools import cycle

import pytest
import torch
from torch import Generator, Tensor

from sama_core.errors import SamaError
from sama_core.training.pretext import (
    PRETEXTS,
    RATIOS,
    Pretext,
    PretextMix,
    cube_inpainting,
    none,
    speed_perturbation,
    tube_shuffle,
)
from sama_core.training.pretext.operators import (
    blacken,
    draw_masked_frames,
    fit_length,
    move_tubes,
    resample_indices,
    shuffle_tubes,
    time_warp_indices,
    tubes_of,
)

from ..harness.golden import assert_close, load_golden

GOLDEN = load_golden("pretext")
CASES = GOLDEN.manifest["parameters"]


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def numbered(frames: int, height: int = 4, width: int = 4) -> Tensor:
    """A clip (F, H, W, 1) in which every value occurs once."""
    return torch.arange(frames * height * width).reshape(frames, height, width, 1)


# --- the golden file ---------------------------------------------------------------------------


def coordinates(video: Tensor) -> Tensor:
    """(T, H, W, 3) uint8: every pixel's own t, y, x."""
    axes = torch.meshgrid(*(torch.arange(length) for length in video.shape[:3]), indexing="ij")
    return torch.stack(axes, dim=-1).to(torch.uint8)


def shuffle_calls(arguments: dict, video: Tensor, calls: int = 2):
    """Successive calls on one generator: what moved where, applied to the video and to its
    coordinates.
    """
    splits = arguments["t_splits"], arguments["h_splits"], arguments["w_splits"]
    generator = seeded(arguments["seed"])
    for _ in range(calls):
        tubes = tubes_of(tuple(video.shape[:3]), splits, arguments["keep_last_frame"])
        order = shuffle_tubes(tubes, generator)
        yield {
            "output": move_tubes(video, tubes, order),
            "source_index": move_tubes(coordinates(video), tubes, order),
        }


def mask_calls(arguments: dict, video: Tensor, calls: int = 2):
    generator = seeded(arguments["seed"])
    for _ in range(calls):
        masked = draw_masked_frames(len(video), generator, arguments["mask_ratio"])
        kept = torch.tensor([-1 if index in masked else index for index in range(len(video))])
        yield {"output": blacken(video, masked), "kept_frame_index": kept}


def time_warp_speeds(arguments: dict):
    """The release draws a speed per call: one of the choices, or uniformly from the range."""
    generator = seeded(arguments["seed"])
    while True:
        if arguments["speed_range"]:
            slow, fast = arguments["speed_range"]
            yield slow + (fast - slow) * torch.rand(1, generator=generator).item()
        else:
            choices = arguments["speed_choices"]
            yield choices[int(torch.randint(0, len(choices), (1,), generator=generator))]


def alternating_speeds(arguments: dict):
    """The release alternates, the second choice or the range's fast end first."""
    slow, *fast = arguments["speed_range"] or arguments["speed_choices"]
    return cycle([*fast[:1], slow])


def speed_calls(speeds, resample, video: Tensor, calls: int = 3):
    for _, speed in zip(range(calls), speeds, strict=False):
        indices = resample(len(video), speed)
        yield {"output": video[indices], "source_frame_index": indices, "speed": speed}


def replay(case: str, video: Tensor) -> list[dict]:
    """What each call of a golden case gives with our functions."""
    operator, arguments = CASES[case]["class"], CASES[case]["arguments"]
    if operator == "SwapFourBlocks":
        return list(shuffle_calls(arguments, video))
    if operator == "MaskRandomFrames":
        return list(mask_calls(arguments, video))
    if operator == "TimeWarpFrames":
        return list(speed_calls(time_warp_speeds(arguments), time_warp_indices, video))
    assert operator == "SpeedChangeFrames"
    resample = time_warp_indices if arguments["keep_length"] else resample_indices
    return list(speed_calls(alternating_speeds(arguments), resample, video))


def reproduced() -> dict[str, Tensor]:
    """Every tensor our functions give for the golden cases, by golden name."""
    return {
        f"{case}.call{number}.{what}": value
        for case in CASES
        for number, call in enumerate(replay(case, GOLDEN["video"]), start=1)
        for what, value in call.items()
        if what != "speed"
    }


@pytest.mark.parametrize("name", sorted(set(GOLDEN.keys()) - {"video"}))
def test_golden_tensor_is_reproduced_exactly(name):
    actual, expected = reproduced()[name], GOLDEN[name]
    assert actual.dtype == expected.dtype
    assert_close(actual, expected, max_abs=0.0)


def test_golden_file_is_covered_completely():
    listed = {tensor["name"] for tensor in GOLDEN.manifest["tensors"]}
    assert listed == set(GOLDEN.keys())
    unstored = {
        f"{case}.call{call}.output"
        for case in CASES
        for call in (2, 3)
        if CASES[case]["class"] in ("TimeWarpFrames", "SpeedChangeFrames")
    }  # pixels of call 1 only
    assert set(reproduced()) - unstored == listed - {"video"}
    assert len(listed) == 61


@pytest.mark.parametrize("case", CASES)
def test_golden_manifest_figures_hold(case):
    recorded, video = CASES[case], GOLDEN["video"]
    for number, call in enumerate(replay(case, video), start=1):
        if "speeds" in recorded:
            assert call["speed"] == recorded["speeds"][number - 1]
        elif f"call{number}_identity" in recorded:
            assert torch.equal(call["output"], video) is recorded[f"call{number}_identity"]
        else:
            masked = (call["kept_frame_index"] == -1).nonzero().flatten().tolist()
            assert masked == recorded[f"call{number}_masked_frames"]


def test_operators_themselves_equal_the_release():
    """The public functions, at the settings that a golden case has."""
    video = GOLDEN["video"]
    assert torch.equal(
        cube_inpainting(video, seeded(0)), GOLDEN["mask_random_frames.0.call1.output"]
    )
    assert torch.equal(
        speed_perturbation(video, time_warp=True), GOLDEN["speed_change_frames.1.call1.output"]
    )
    resampled = GOLDEN["speed_change_frames.0.call1.output"]
    assert torch.equal(
        speed_perturbation(video), torch.cat([resampled, resampled[-1:].expand(8, -1, -1, -1)])
    )
    assert torch.equal(
        tube_shuffle(video, seeded(5), (2, 3, 2)), GOLDEN["swap_four_blocks.1.call1.output"]
    )


# --- every operator ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRETEXTS)
@pytest.mark.parametrize("frames", [1, 2, 5, 17])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_shape_dtype_and_input_are_kept(name, frames, dtype):
    clip = torch.randint(0, 255, (frames, 6, 8, 3), generator=seeded()).to(dtype)
    before = clip.clone()
    out = PRETEXTS[name].perturb(clip, seeded())
    assert out.shape == clip.shape and out.dtype == dtype
    out.zero_()  # a view of the input would change it
    assert torch.equal(clip, before)


@pytest.mark.parametrize("name", PRETEXTS)
def test_same_seed_same_frames_and_batch_rows_draw_in_turn(name):
    clips, perturb = torch.rand(3, 17, 6, 8, 3, generator=seeded()), PRETEXTS[name].perturb
    generator = seeded(4)
    one_by_one = torch.stack([perturb(clip, generator) for clip in clips])
    assert torch.equal(perturb(clips, seeded(4)), one_by_one)


@pytest.mark.parametrize("name", PRETEXTS)
def test_other_shapes_are_refused(name):
    with pytest.raises(SamaError, match=r"\(17, 8, 3\), needs \(F, H, W, C\)"):
        PRETEXTS[name].perturb(torch.zeros(17, 8, 3), seeded())


def test_nothing_is_drawn_from_the_global_generator():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    mix = PretextMix()
    for seed in range(20):
        mix.perturb(torch.zeros(17, 4, 4, 3), "", seeded(seed))
    assert torch.equal(torch.get_rng_state(), before)


def test_none_is_the_clip():
    assert torch.equal(none(numbered(5)), numbered(5))


# --- cube inpainting ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frames", "masked"), [(1, 0), (2, 1), (5, 2), (17, 5), (25, 8), (49, 15), (81, 24)]
)
def test_thirty_percent_of_the_frames_are_masked(frames, masked):
    assert len(draw_masked_frames(frames, seeded())) == masked


def test_masked_frames_start_anywhere_but_at_zero():
    generator = seeded()
    starts = {draw_masked_frames(9, generator).start for _ in range(200)}
    assert starts == {1, 2, 3, 4, 5, 6}  # 3 of 9 frames: the last start still fits


def test_masked_frames_are_black_and_the_others_untouched():
    clip = numbered(5) + 1
    out = blacken(clip, range(1, 3))
    assert out[1:3].eq(0).all()
    assert torch.equal(out[[0, 3, 4]], clip[[0, 3, 4]])


# --- speed -------------------------------------------------------------------------------------


def test_twice_as_fast_is_trimmed_to_4k_plus_1_and_padded_back():
    assert resample_indices(17).tolist() == [0, 2, 4, 6, 8]
    assert speed_perturbation(numbered(17))[:, 0, 0, 0].tolist() == [0, 32, 64, 96] + [128] * 13
    assert [len(resample_indices(frames)) for frames in (5, 9, 13, 49, 81)] == [1, 1, 5, 21, 37]


def test_time_warp_reaches_the_end_of_a_short_clip():
    assert time_warp_indices(17).tolist() == [0, 2, 4, 6, 8, 10, 12, 14, *[16] * 9]
    assert speed_perturbation(numbered(5), time_warp=True)[:, 0, 0, 0].tolist() == [
        0,
        32,
        64,
        64,
        64,
    ]


def test_slow_motion_is_cut_to_length():
    assert speed_perturbation(numbered(5), speed=0.5)[:, 0, 0, 0].tolist() == [
        0,
        0,
        16,
        32,
        32,
    ]  # halves round to even
    assert fit_length(torch.tensor([0, 1, 2]), 2).tolist() == [0, 1]


@pytest.mark.parametrize("speed", [0, -1, math.nan])
def test_speed_must_be_positive(speed):
    with pytest.raises(SamaError, match="needs more than 0"):
        speed_perturbation(numbered(5), speed=speed)


# --- tubes -------------------------------------------------------------------------------------


def crosses_the_middle(frames: int, keep_last_frame: bool, seeds: int = 30) -> bool:
    """Whether any of `seeds` shuffles moves content from one temporal half to the other."""
    tubes = tubes_of((frames, 4, 4), keep_last_frame=keep_last_frame)
    return any(
        index // 4 != place // 4
        for seed in range(seeds)
        for place, index in enumerate(shuffle_tubes(tubes, seeded(seed)))
    )


@pytest.mark.parametrize("frames", [17, 49, 81])
def test_4k_plus_1_frames_mix_in_time_only_with_the_last_frame_kept(frames):
    assert not crosses_the_middle(frames, keep_last_frame=False)
    assert crosses_the_middle(frames, keep_last_frame=True)


def test_49_frames_split_25_and_24_or_24_and_24():
    def lengths(keep):
        return [t.stop - t.start for t, _, _ in tubes_of((49, 4, 4), keep_last_frame=keep)[::4]]

    assert lengths(False) == [25, 24]
    assert lengths(True) == [24, 24]


def test_shuffle_is_a_permutation_that_keeps_the_last_frame():
    clip = numbered(17)
    out = tube_shuffle(clip, seeded(1))
    assert not torch.equal(out, clip)
    assert torch.equal(out.flatten().sort().values, clip.flatten())
    assert torch.equal(out[-1], clip[-1])


def test_moved_puts_tube_order_i_at_place_i():
    clip = numbered(2, 1, 2)  # [[0, 1]], [[2, 3]]
    tubes = tubes_of((2, 1, 2), (2, 1, 2), keep_last_frame=False)
    assert move_tubes(clip, tubes, [3, 0, 1, 2]).flatten().tolist() == [3, 0, 1, 2]


@pytest.mark.parametrize("size", [(1, 8, 8), (2, 8, 8), (17, 1, 8), (17, 8, 1)])
def test_clips_too_small_for_their_splits_stay_as_they_are(size):
    clip, generator = numbered(*size), seeded()
    before = generator.get_state()
    assert torch.equal(tube_shuffle(clip, generator), clip)
    assert torch.equal(generator.get_state(), before)


# --- the mix -----------------------------------------------------------------------------------


def test_tags_are_the_papers():
    assert {name: pretext.tag for name, pretext in PRETEXTS.items()} == {
        "none": "",
        "cube_inpainting": "[Complete the missing regions in the video.]",
        "speed_perturbation": "[Restore the video to normal playback speed.]",
        "tube_shuffle": "[Restore the correct spatio-temporal order of the video segments.]",
    }


def test_tag_goes_before_the_caption():
    assert (
        PRETEXTS["cube_inpainting"].caption("A seal.")
        == "[Complete the missing regions in the video.] A seal."
    )
    assert PRETEXTS["none"].caption("A seal.") == "A seal."
    assert PRETEXTS["tube_shuffle"].caption("") == PRETEXTS["tube_shuffle"].tag


def test_mix_draws_1_2_3_4():
    """4000 draws of one seed lie within 3.5 binomial standard deviations of the ratio, which a fair
    draw leaves at one seed in 500. And they are exactly these counts, so that a change of the draw
    shows."""
    generator, mix, draws = seeded(2026), PretextMix(), 4000
    counts = Counter(mix.draw(generator).name for _ in range(draws))
    for name, ratio in RATIOS.items():
        share = ratio / 10
        assert abs(counts[name] - draws * share) <= 3.5 * math.sqrt(draws * share * (1 - share)), (
            name
        )
    assert counts == {
        "none": 375,
        "cube_inpainting": 845,
        "speed_perturbation": 1178,
        "tube_shuffle": 1602,
    }


def test_mix_perturbs_as_its_parts_do():
    clip, mix, seen = torch.rand(17, 6, 8, 3, generator=seeded()), PretextMix(), set()
    for seed in range(40):
        result = mix.perturb(clip, "A seal.", seeded(seed))
        generator = seeded(seed)
        pretext = mix.draw(generator)
        assert (result.name, result.caption) == (pretext.name, pretext.caption("A seal."))
        assert torch.equal(result.source, pretext.perturb(clip, generator))
        seen.add(result.name)
    assert seen == set(PRETEXTS)


def test_mix_takes_other_ratios_and_pretexts():
    assert {PretextMix({"tube_shuffle": 2}).draw(seeded(seed)).name for seed in range(20)} == {
        "tube_shuffle"
    }
    assert {
        PretextMix({"none": 1, "tube_shuffle": 0}).draw(seeded(seed)).name for seed in range(20)
    } == {"none"}
    flipped = Pretext("flip", "[Flip.]", lambda frames, generator: frames.flip(-2))
    mix = PretextMix({"flip": 1}, {**PRETEXTS, "flip": flipped})
    assert mix.perturb(numbered(1), "Up.", seeded()).caption == "[Flip.] Up."


@pytest.mark.parametrize(
    ("ratios", "message"),
    [
        ({"cube": 1}, "unknown names cube"),
        ({}, "at least 0"),
        ({"none": 0}, "above 0"),
        ({"none": -1, "tube_shuffle": 2}, "at least 0"),
        ({"none": math.nan}, "at least 0"),
    ],
)
def test_bad_ratios_are_refused(ratios, message):
    with pytest.raises(SamaError, match=message):
        PretextMix(ratios)


def test_mix_can_be_sent_to_a_worker():
    assert pickle.loads(pickle.dumps(PretextMix())) == PretextMix()
