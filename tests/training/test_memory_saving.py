"""Blocks and block inputs that live in RAM: the numbers stay the same, and what is on the card is
what should be.
"""

import os
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from benchmarks.live_bytes import LiveBytes
from benchmarks.random_models import random_dit
from sama_core.training.memory import ram
from sama_core.training.memory.arrange import count_weights
from sama_core.training.memory.block_swap import choose_evenly
from sama_core.training.memory.frozen_linear import FrozenLinear
from sama_core.training.memory.ram import KeepInRam, Room
from sama_core.training.objective import SamaObjective
from sama_core.training.objectives.noising import stream
from sama_core.training.recipe import ConfigError
from sama_core.training.trainee import Trainee
from sama_core.training.trainer import own_name

from .test_trainer import losses, run_program
from .tiny_run import DIT, NoiseData, tiny_config, tiny_trainer

LORA = {"lora_rank": 2, "gradient_checkpointing": True, "precision": "bf16", "frames": 1}


def make_trainee(blocks: int = 6, **settings) -> Trainee:
    """A LoRA over a random model of that depth, whose adapters have an effect."""
    dit = random_dit(replace(DIT, num_layers=blocks), stream("weights"))
    trainee = Trainee(dit, None, tiny_config("", **{**LORA, **settings}))
    for name, weight in trainee.named_parameters():
        if ".lora_B." in name:
            nn.init.normal_(weight, std=0.1, generator=stream(own_name(name)))
    return trainee


def step(trainee: Trainee, config) -> tuple[Tensor, dict[str, Tensor]]:
    """The losses of one step and all gradients."""
    batch = NoiseData(2).batch(0, slice(0, 2))
    text = torch.randn(2, 6, DIT.text_dim, generator=stream("text"))
    with torch.autocast("cpu", torch.bfloat16):
        found = SamaObjective(config)(
            trainee, type(batch)(**{**vars(batch), "text": text}), [stream("a"), stream("b")]
        )
    found.total.sum().backward()
    gradients = {
        name.replace("_checkpoint_wrapped_module.", ""): weight.grad
        for name, weight in trainee.named_parameters()
        if weight.requires_grad
    }
    return found.total.detach(), gradients


# --- the numbers ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "table",
    [
        {"block_swap": 1},
        {"block_swap": 3},
        {"block_swap": 6},
        {"activations_in_ram": True},
        {"block_swap": 6, "activations_in_ram": True},
    ],
)
def test_the_numbers_are_those_without(table):
    """To the bit, losses and gradients, in two steps one after the other."""
    plain, lean = make_trainee(), make_trainee(memory=table)
    for _ in range(2):
        (loss, gradients), (other, others) = (
            step(one, tiny_config("", **LORA)) for one in (plain, lean)
        )
        assert torch.equal(loss, other) and gradients.keys() == others.keys()
        assert all(torch.equal(one, others[name]) for name, one in gradients.items())
    assert len(gradients) == 6 * 10 * 2 and all(one.any() for one in gradients.values())


def test_states_in_bf16_change_the_loss_little():
    (exact, _), (rounded, _) = (
        step(make_trainee(memory=table), tiny_config("", **LORA))
        for table in ({}, {"states": "bf16"})
    )
    assert not torch.equal(exact, rounded)
    torch.testing.assert_close(rounded, exact, rtol=0.02, atol=0)


# --- what is where -------------------------------------------------------------------------------


def test_choose_evenly():
    assert choose_evenly(40, 4) == [5, 15, 25, 35]
    assert choose_evenly(6, 3) == [1, 3, 5] and choose_evenly(2, 2) == [0, 1]
    assert choose_evenly(40, 40) == list(range(40)) and choose_evenly(3, 0) == []


def test_each_block_is_copied_once_a_pass_and_ahead_of_time():
    """Three of six: 1, 3 and 5 up, then 3 and 1 down, since 5 is still there; then only 5 and 3
    again. Whenever one is lent the next is there already.
    """
    trainee = make_trainee(memory={"block_swap": 3})
    swap = trainee.block_swap
    lent, there = [], []
    lend = swap.lend

    def note(index: int, device: torch.device) -> None:
        if index != swap.lent:
            lent.append(index)
            there.append(index in [place.holds for place in swap.places])
        lend(index, device)

    swap.lend = note
    for _ in range(2):
        step(trainee, tiny_config("", **LORA))
    assert lent == [1, 3, 5, 3, 1, 3, 5, 3, 1]
    assert there == [False, *[True] * 8]
    assert len(swap.places) == 2


def test_blocks_are_at_home_in_ram():
    """A lent block's matrices lie in a place on the device, the others' in RAM, which no cast and
    no move of the model touches.
    """
    trainee = make_trainee(blocks=3, memory={"block_swap": 3})
    swap = trainee.block_swap
    trainee.to("meta")
    layers = [layer for layer in trainee.modules() if isinstance(layer, FrozenLinear)]
    assert len(layers) == 30 and {layer.weight.device.type for layer in layers} == {"cpu"}
    assert {layer.bias.device.type for layer in layers} == {"meta"}
    swap.lend(1, torch.device("cpu"))
    spans = [(swap.places[place].bytes.data_ptr(), swap.places[place]) for place in (0, 1)]
    start = next(start for start, place in spans if place.holds == 1)
    inside = [
        index
        for index, parcel in swap.parcels.items()
        if start <= parcel.weights[0].data_ptr() < start + parcel.size
    ]
    assert inside == [1]
    swap.lend(2, torch.device("cpu"))
    assert swap.parcels[1].weights[0].data_ptr() == swap.parcels[1].ram.data_ptr()


def test_inputs_in_ram_are_the_blocks_alone(monkeypatch):
    """One input for each block, of 2 x (4 + 65 + 4) tokens of 128 float32 numbers; the second step
    uses the same room again.
    """
    asked = []
    make = ram.make_room

    def note(size: int) -> Tensor:
        asked.append(size)
        return make(size)

    monkeypatch.setattr(ram, "make_room", note)
    trainee = make_trainee(memory={"activations_in_ram": True})
    for _ in range(2):
        step(trainee, tiny_config("", **LORA))
    inputs = [size for size in asked if size]
    assert inputs == [2 * 73 * 128 * 4] * 6


def test_a_tensor_comes_back_as_it_was():
    kept = torch.randn(3, 5, generator=stream("kept"))
    x = kept.clone().requires_grad_(True)
    with KeepInRam(Room()):
        y = x.square().sum()
    with torch.no_grad():
        x.zero_()  # what was saved is a copy
    y.backward()
    assert torch.equal(x.grad, 2 * kept)


def test_fewer_bytes_on_the_device(monkeypatch):
    """Counted while a step runs: all six blocks in RAM leave two places, and the inputs go too."""
    peaks = {}
    for name, table in (
        ("plain", {}),
        ("inputs", {"activations_in_ram": True}),
    ):
        trainee = make_trainee(memory=table)
        live = LiveBytes()

        def uncounted(size: int, live=live) -> Tensor:
            room = torch.empty(size, dtype=torch.uint8)
            live.forget(room)
            return room

        monkeypatch.setattr(ram, "make_room", uncounted)
        with live:
            step(trainee, tiny_config("", **LORA))
        peaks[name] = live.peak
    boundary = 2 * 73 * 128 * 4
    assert peaks["plain"] - peaks["inputs"] == pytest.approx(5 * boundary, rel=0.25)


# --- refused, and several processes --------------------------------------------------------------


def test_more_blocks_than_there_are():
    with pytest.raises(ConfigError, match="memory.block_swap: got 7, needs 6 or less"):
        make_trainee(memory={"block_swap": 7})


@pytest.mark.parametrize("wish", ["true", "1"])  # the launcher's, and a person's
def test_sharding_is_refused_with_advice(monkeypatch, wish):
    with pytest.raises(ConfigError, match="block_swap 1, needs weights that can be sharded"):
        make_trainee(memory={"block_swap": 1}, shard=True)
    monkeypatch.setitem(os.environ, "ACCELERATE_USE_FSDP", wish)
    with pytest.raises(ConfigError, match="Start it with torchrun"):
        make_trainee(memory={"block_swap": 1})


def test_two_processes_are_one(tmp_path):
    """Over a base in fp8 whose blocks and inputs are in RAM."""
    settings = ["steps=3", "lora_rank=2", "gradient_checkpointing=true"]
    settings.append('memory={"base": "fp8", "block_swap": 2, "activations_in_ram": true}')
    for name, processes in (("one", 1), ("two", 2)):
        run_program(tmp_path / name, *settings, processes=processes)
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-5)


def test_a_resumed_run_may_move_more_into_ram(tmp_path):
    """To the bit the losses of a run that was left alone; the checkpoint holds no frozen matrix."""
    lora = {"lora_rank": 2, "gradient_checkpointing": True, "checkpoint_every": 2, "warmup": 1}
    tiny_trainer(tiny_config(tmp_path / "alone", steps=4, memory={"base": "fp8"}, **lora)).run()
    for steps, table in ((2, {}), (4, {"block_swap": 2, "activations_in_ram": True})):
        memory = {"base": "fp8", **table}
        tiny_trainer(tiny_config(tmp_path / "moved", steps=steps, memory=memory, **lora)).run()
    assert losses(tmp_path / "moved") == losses(tmp_path / "alone")
    assert (tmp_path / "moved" / "state.pt").stat().st_size < 2e6


def test_weights_are_counted_as_what_they_are():
    """A base in RAM is held as bytes, and has as many weights as it had."""
    counts = [
        sum(count for _, count in count_weights(make_trainee(memory=table)))
        for table in ({}, {"block_swap": 6}, {"base": "fp8"})
    ]
    assert counts[0] == counts[1] == counts[2]
