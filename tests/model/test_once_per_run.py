"""What a run computes once, and what it must not."""

import pytest
import torch

from sama_core.model.once_per_run import MEMORY, OncePerRun, once


def counted(value: torch.Tensor):
    calls = []

    def make():
        calls.append(1)
        return value.clone()

    return make, calls


def ask(options: dict, make, name: str = "text", of: torch.Tensor | None = None) -> torch.Tensor:
    with torch.no_grad():
        return once(options, name, make, of)


def test_once_for_each_conditioning():
    make, calls = counted(torch.ones(3))
    options = {MEMORY: OncePerRun()}
    first = ask({**options, "uuids": ["a"]}, make)
    assert ask({**options, "uuids": ["a"]}, make) is first
    assert ask({**options, "uuids": ["a", "b"]}, make) is not first
    assert ask({**options, "uuids": ["a"]}, make, "source") is not first
    assert len(calls) == 3


def test_every_time_without_a_memory_without_a_conditioning_and_under_grad():
    make, calls = counted(torch.ones(3))
    memory = {MEMORY: OncePerRun(), "uuids": ["a"]}
    for options in ({}, {"uuids": ["a"]}, {MEMORY: OncePerRun()}):
        ask(options, make)
        ask(options, make)
    once(memory, "text", make)
    once(memory, "text", make)
    assert len(calls) == 8


def test_no_more_than_the_limit_is_kept():
    memory = OncePerRun(limit_bytes=24)
    make, calls = counted(torch.ones(3))
    options = {MEMORY: memory}
    kept = [ask({**options, "uuids": [name]}, make) for name in "abc"]
    assert [
        ask({**options, "uuids": [name]}, make) is old
        for name, old in zip("abc", kept, strict=True)
    ] == [True, True, False]
    assert len(calls) == 4


def test_what_is_made_of_a_strange_tensor_is_not_kept():
    """A pack that hands a block other text than the run's own gets that text's keys."""
    options = {MEMORY: OncePerRun(), "uuids": ["a"]}
    text = ask(options, lambda: torch.ones(3))
    mine, calls = counted(torch.zeros(2))
    assert ask(options, mine, "k", of=text) is ask(options, mine, "k", of=text)
    other, strange = counted(torch.ones(2))
    assert ask(options, other, "k", of=text.clone()).sum() == 2
    assert ask(options, other, "k", of=text.clone()).sum() == 2
    assert (len(calls), len(strange)) == (1, 2)


@pytest.mark.parametrize("change", ["written in place", "exchanged", "other data", "none"])
def test_a_weight_altered_in_mid_run_is_read_again(change):
    layer = torch.nn.Linear(2, 2, bias=False)
    layer.weight.data.fill_(1)
    options, calls = {MEMORY: OncePerRun(limit_bytes=16), "uuids": ["a"]}, []

    def ask_layer():
        with torch.no_grad():
            return once(
                options, "text", lambda: calls.append(1) or layer(torch.ones(1, 2)), by=(layer,)
            )

    before = ask_layer().clone()
    with torch.no_grad():
        if change == "written in place":
            layer.weight.mul_(3)
        elif change == "exchanged":
            layer.weight = torch.nn.Parameter(torch.full((2, 2), 3.0))
        elif change == "other data":
            layer.weight.data = torch.full((2, 2), 3.0)
    factor = 1 if change == "none" else 3
    assert torch.equal(ask_layer(), factor * before)
    assert torch.equal(ask_layer(), factor * before)
    assert len(calls) == (1 if change == "none" else 2)


def test_a_text_in_the_memory_of_an_earlier_one_is_another_text():
    """Its object may get the id of the one that it replaces."""
    layer, old = torch.nn.Linear(2, 2, bias=False), []
    options = {MEMORY: OncePerRun(), "uuids": ["a"]}

    def make() -> torch.Tensor:
        made = [torch.full((1, 2), float(number)) for number in range(300)]
        return next((text for text in made if id(text) in old), made[-1])

    with torch.no_grad():
        for _ in range(3):
            text = once(options, "text", make, by=(layer,))
            assert torch.equal(once(options, "k", lambda text=text: text + 1, of=text), text + 1)
            old.append(id(text))
            del text
            layer.weight.mul_(2)
