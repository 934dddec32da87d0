"""The pack on a ComfyUI that it does not fit: what fails is left out by name, the rest loads."""

import asyncio
import importlib
import logging
import re
import sys

import pytest

from sama_core.version import VERSION

NODE_IDS = {
    "SAMALoadModel",
    "SAMAPrepareModel",
    "SAMALoadTextEncoder",
    "SAMALoadVAE",
    "SAMALoadLora",
    "SAMASourceVideo",
    "SAMAClipFolder",
    "SAMAInstruction",
    "SAMAEditConditioning",
    "SAMASigmas",
    "SAMAEdit",
    "SAMAEditWholeVideo",
    "SAMAVideoShare",
    "SAMALongEdit",
    "SAMASegmentStore",
    "SAMAAnchorPreview",
    "SAMADrafts",
    "SAMASplitLatent",
    "SAMAJoinLatent",
    "SAMARegionMask",
    "SAMAPasteBack",
    "SAMAChangedMask",
    "SAMAScores",
    "SAMAFinishVideo",
    "SAMACompare",
    "SAMAKeepPair",
    "SAMAConvertWeights",
    "SAMAPlan",
    "SAMATrainingPair",
    "SAMATeacherFeatures",
    "SAMAAlignmentLoss",
}
"""Saved workflows name the nodes so: an id is added here with its node, and never changed."""


@pytest.fixture
def nodes(pack):
    return pack.module("nodes")


def start(nodes):
    """The extension as ComfyUI starts it, and the ids of the nodes it registers."""
    extension = asyncio.run(nodes.comfy_entrypoint())
    asyncio.run(extension.on_load())
    return [node.GET_SCHEMA().node_id for node in asyncio.run(extension.get_node_list())]


def count(nodes):
    """How many nodes the pack's families name."""
    return sum(len(names) for names in nodes.FAMILIES.values())


def start_lines(caplog):
    return [record for record in caplog.records if record.getMessage().startswith("ComfyUI-SAMA")]


def test_the_pack_has_these_nodes(nodes):
    found = start(nodes)
    assert set(found) == NODE_IDS and len(found) == len(NODE_IDS)


def test_one_line_says_which_core_the_pack_meets(nodes, caplog):
    import comfyui_version

    with caplog.at_level(logging.INFO):
        assert len(start(nodes)) == count(nodes)
    (line,) = start_lines(caplog)
    assert (
        line.getMessage()
        == f"ComfyUI-SAMA {VERSION} on ComfyUI {comfyui_version.__version__}: {count(nodes)} nodes."
    )
    assert line.levelno == logging.INFO


@pytest.mark.parametrize(
    "broken, lost",
    [
        ("convert", {"SAMAConvertWeights"}),
        ("region", {"SAMARegionMask", "SAMAPasteBack", "SAMAChangedMask"}),
        (
            "edit",
            {
                "SAMAInstruction",
                "SAMAEditConditioning",
                "SAMASigmas",
                "SAMAEdit",
            },
        ),
    ],
)
def test_a_family_that_cannot_be_imported_is_left_out(nodes, monkeypatch, caplog, broken, lost):
    """As where ComfyUI lacks a symbol: its nodes are missing, and all others stay."""
    for family in nodes.FAMILIES:
        monkeypatch.delitem(sys.modules, f"{nodes.__name__}.{family}", raising=False)

    class Finder:
        @staticmethod
        def find_spec(name, *_):
            if name == f"{nodes.__name__}.{broken}":
                raise ImportError("cannot import name 'sampler_names' from 'comfy.samplers'")

    monkeypatch.setattr(sys, "meta_path", [Finder, *sys.meta_path])
    found = set(start(nodes))
    assert len(found) == count(nodes) - len(lost) and not found & lost
    (line,) = start_lines(caplog)
    text = line.getMessage()
    assert f"{len(found)} of {count(nodes)} nodes, the rest works. Left out: " in text
    assert "\n" not in text
    assert set(re.findall(r"SAMA\w+", text.replace("ComfyUI-SAMA", ""))) == lost
    assert "ImportError: cannot import name 'sampler_names' from 'comfy.samplers'" in text
    assert "Update ComfyUI-SAMA" in text and line.levelno == logging.WARNING


def test_a_node_whose_schema_this_core_refuses_is_left_out_alone(nodes, monkeypatch, caplog):
    family = importlib.import_module(f"{nodes.__name__}.load")

    def refused(cls):
        raise TypeError("Schema.__init__() got an unexpected keyword argument 'price_badge'")

    monkeypatch.setattr(family.LoadLora, "define_schema", classmethod(refused))
    found = start(nodes)
    assert (
        len(found) == count(nodes) - 1 and "SAMALoadLora" not in found and "SAMALoadModel" in found
    )
    assert (
        "Left out: SAMALoadLora (TypeError: Schema.__init__() got"
        in start_lines(caplog)[0].getMessage()
    )


def test_a_core_that_takes_no_model_class_still_gets_the_nodes(nodes, pack, monkeypatch, caplog):
    register = pack.module("sama_core.comfyui.register")

    def fails():
        raise AttributeError("module 'comfy.supported_models' has no attribute 'models'")

    monkeypatch.setattr(register, "register", fails)
    assert len(start(nodes)) == count(nodes)
    assert (
        "Left out: recognising SAMA files (AttributeError: module"
        in start_lines(caplog)[0].getMessage()
    )


@pytest.mark.parametrize(
    "version, told",
    [
        ("0.29.9", True),
        ("0.3.75", True),
        ("0.30.0", False),
        ("1.0", False),
        ("0.46.0+dev", False),
        ("nightly", False),
    ],
)
def test_a_core_older_than_the_oldest_tested_is_told(nodes, monkeypatch, caplog, version, told):
    import comfyui_version

    monkeypatch.setattr(comfyui_version, "__version__", version)
    with caplog.at_level(logging.INFO):
        assert len(start(nodes)) == count(nodes)
    text = start_lines(caplog)[0].getMessage()
    assert f"on ComfyUI {version}: " in text
    assert ("is older than 0.30.0, the oldest that is tested: update it" in text) == told


def test_newer_fields_are_given_only_where_the_schema_has_them(pack, comfyui):
    """SAMA Edit stands among the essentials of cores that have such a list."""
    from comfy_api.latest import io

    from sama_core.comfyui.later_core import newer_fields

    assert newer_fields(io.Schema, essentials_category="Video Tools", of_2031=1) == {
        "essentials_category": "Video Tools"
    }
    assert newer_fields(object, essentials_category="Video Tools") == {}
    assert (
        comfyui.object_info("SAMAEdit").get("essentials_category", "Video Tools") == "Video Tools"
    )
    assert pack.module("nodes.edit").Edit.GET_SCHEMA().essentials_category == "Video Tools"
