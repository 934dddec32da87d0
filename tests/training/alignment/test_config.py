"""The `[align]` table: what it takes, what it refuses, and the papers' rows."""

import math

import pytest

from sama_core.training.alignment.config import ARMS, AlignConfig
from sama_core.training.recipe import ConfigError


def test_defaults_are_the_papers():
    config = AlignConfig()
    assert (config.weight, config.router, config.temporal_weight) == (0.5, "or", 1.0)
    assert math.isinf(config.decay) and config.margin == 0 and not config.one_mean
    assert (config.window, config.temperature, config.rate, config.least_rate, config.warmup) == (
        7, 0.1, 5e-4, 1e-5, 150,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("relation", "blocks", "block"),
    [("pairs", 40, 18), ("flow", 42, 25), ("pairs", 6, 3), ("flow", 6, 4), ("tokens", 1, 1)],
)
def test_the_block_follows_the_depth(relation, blocks, block):
    distance = {"pairs": "abs", "flow": "kl", "tokens": "cosine"}[relation]
    assert AlignConfig(relation=relation, distance=distance).choose_block(blocks) == block


@pytest.mark.parametrize(("paper", "blocks", "block"), [("sara", 40, 18), ("sam2videox", 42, 25)])
def test_every_row_of_a_papers_tables_is_behind_that_papers_block(paper, blocks, block):
    """SARA hooks layer 18 of 40, SAM2VideoX block 25 of 42, in its rows without a flow too."""
    rows = {name for name in ARMS if name.startswith(paper)}
    if paper == "sam2videox":
        rows |= {"mask_supervision"}
    assert len(rows) > 6
    assert {name for name in rows if ARMS[name].choose_block(blocks) != block} == set()


def test_a_block_outside_the_model_is_refused():
    assert AlignConfig(block=6).choose_block(6) == 6
    with pytest.raises(ConfigError, match="align.block: got 7, needs 1 to 6"):
        AlignConfig(block=7).choose_block(6)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"relation": "graph"}, "align.relation: got 'graph', needs 'flow' or 'pairs' or 'tokens'"),
        ({"distance": "kl"}, "align.distance: got 'kl', needs 'abs'"),
        ({"router": "nor"}, "align.router"),
        ({"temporal_router": "all"}, "align.temporal_router: got all, needs a saliency"),
        ({"saliency": "red"}, "align.saliency"),
        ({"border": "wrap"}, "align.border"),
        ({"fusion": "sum"}, "align.fusion"),
        ({"ends": "cut"}, "align.ends"),
        ({"window": 4}, "align.window: got 4, needs an odd number"),
        ({"weight": 0.0}, "align.weight: got 0.0"),
        ({"weight": math.nan}, "align.weight: got nan"),
        ({"block": -1}, "align.block"),
        ({"least_rate": 1.0}, "align.least_rate"),
        ({"decay": 0.0}, "align.decay"),
        ({"k": 1.5}, "align.k"),
        ({"sigma": (0.5, 0.2)}, "align.sigma"),
        ({"weight": "much"}, r"align\.weight: got 'much', needs a value of type float"),
        ({"width": "256"}, r"align\.width: got '256', needs a value of type int"),
        ({"window": -7}, r"align\.window: got -7, needs an odd number, 1 or more"),
        ({"hidden": 32}, r"align\.hidden: got 32, needs a list of whole numbers"),
        ({"hidden": (True, 8)}, r"align\.hidden: got \[True, 8\], needs a list of whole numbers"),
        ({"sigma": 0.5}, r"align\.sigma: got 0\.5, needs a list of two numbers"),
        ({"sigma": ("low", 1)}, r"align\.sigma: got \['low', 1\], needs a list of two numbers"),
    ],
)
def test_what_cannot_be_is_refused(change, words):
    with pytest.raises(ConfigError, match=words):
        AlignConfig(**change)


def test_rows_of_the_tables_differ():
    assert ARMS["sft"] is None
    arms = [config for config in ARMS.values() if config is not None]
    assert len(set(arms)) == len(arms) == 21
    assert {config.router for config in arms} == {"or", "and", "xor", "all"}
    assert {config.fusion for config in arms} == {"flow", "features", "forward", "separate"}


def test_a_slip_in_the_table_names_it_and_what_may_be_meant():
    words = (
        r"recipe r\.toml \[align\]: got unknown settings methd, .* Is it method\? There are: method"
    )
    with pytest.raises(ConfigError, match=words):
        AlignConfig.of_table({"methd": "trd"}, "r.toml [align]")
    with pytest.raises(ConfigError, match=r"align\.method: got \['trd'\], needs a known method"):
        AlignConfig.of_table({"method": ["trd"]}, "r.toml [align]")
