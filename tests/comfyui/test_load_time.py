"""Loading tells how far it is, and holds a model once."""

from pathlib import Path

import pytest

from .graphs import spoken


@pytest.fixture
def file(comfyui, small) -> Path:
    return comfyui.models("diffusion_models") / small.sama


def test_every_block_is_told(file):
    from sama_core.comfyui.loaders import load_diffusion_model

    told = []
    load_diffusion_model(str(file), report_to=lambda *heard: told.append(heard))
    assert told == [(0, 2), (1, 2), (2, 2)]
    assert not any(
        block._load_state_dict_pre_hooks
        for block in load_diffusion_model(
            str(file), report_to=lambda *_: None
        ).model.diffusion_model.blocks
    )


def test_the_node_shows_a_bar_and_a_line(comfyui, edit):
    result = comfyui.run({edit.model[0]: edit.nodes[edit.model[0]]}, keep=[edit.model[0]]).check()
    bar = [step.value for step in result.progress]
    assert bar == sorted(bar) and bar[-1] == 2 and {step.total for step in result.progress} == {2}
    assert spoken(result)[-1] == "SAMA: loading weights, 2 of 2 blocks"


def test_stopping_in_the_middle(file):
    """What the progress bar raises on an interrupt ends the loading; the next load is whole."""
    from sama_core.comfyui.loaders import load_diffusion_model

    class Pressed(Exception):
        pass

    def press(done: int, total: int) -> None:
        if done == 1:
            raise Pressed

    with pytest.raises(Pressed):
        load_diffusion_model(str(file), report_to=press)
    assert len(load_diffusion_model(str(file)).model.diffusion_model.blocks) == 2
