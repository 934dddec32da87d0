"""A teacher on the card, beside ComfyUI's own models, and its files."""

import json
import os
import shutil
from types import SimpleNamespace

import pytest
import torch


class Teacher:
    """One linear layer, which notes what happens."""

    def __init__(self, events: list):
        self.model = torch.nn.Linear(1000, 1000)
        self.model.to = lambda device: events.append(f"moved to {device}")

    def features(self, frames, prompt):
        return {"features": frames}


def test_comfyui_makes_room_before_the_teacher_moves(comfyui, monkeypatch):
    import comfy.model_management as management

    from sama_core.comfyui.teacher_features import _look

    events, asked = [], []

    def free(size, device, *_given, **_named):
        events.append(f"room on {device}")
        asked.append(size)

    monkeypatch.setattr(management, "free_memory", free)
    source = SimpleNamespace(load=lambda: Teacher(events))
    _look(torch.zeros(1, 16, 16, 3), source, None)
    assert events == ["room on cpu", "moved to cpu"]
    assert asked[0] >= 4 * 1000 * 1001 + management.minimum_inference_memory()


def test_a_clip_with_fewer_frames_than_features(comfyui, monkeypatch):
    """VideoMAE gives every clip eight, a picture too: no model can be held to them."""
    from sama_core.comfyui import teacher_features
    from sama_core.errors import ClipError

    source = SimpleNamespace(key="videomae:0", count_slices=lambda frames: 8)
    monkeypatch.setattr(teacher_features, "_find_teachers", lambda: {"mae": source})
    with pytest.raises(ClipError, match="frames: got 5, needs 8 or more for mae"):
        teacher_features.make_features(torch.zeros(5, 32, 32, 3), "mae")


@pytest.fixture
def folder(comfyui):
    """A teacher's, for one test: help pages are compared with the list."""
    folder = comfyui.models("sama_teachers") / "replaced"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


def test_replaced_weights_are_looked_at_again_and_others_only_once(folder, pack, monkeypatch):
    from sama_core.comfyui.teacher_features import _find_teachers
    from sama_core.training.alignment.teachers import base

    (folder / "config.json").write_text(json.dumps({"model_type": "sam2"}))
    weights = folder / "model.safetensors"
    weights.write_bytes(b"1")
    node, read = pack.module("nodes.train").TeacherFeatures, []
    original = base.digest_file
    monkeypatch.setattr(base, "digest_file", lambda path: read.append(path.name) or original(path))

    first, key = node.fingerprint_inputs(teacher="replaced"), _find_teachers()["replaced"].key
    assert _find_teachers()["replaced"].key == key
    assert sorted(read) == ["config.json", "model.safetensors"]
    weights.write_bytes(b"2")
    os.utime(weights, (1, 1))
    assert node.fingerprint_inputs(teacher="replaced") != first
    assert _find_teachers()["replaced"].key != key and read.count("model.safetensors") == 2
    assert node.fingerprint_inputs(teacher=None) == node.fingerprint_inputs(teacher="pixels") == []
