"""Fixtures of the launcher's tests."""

import sys
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import pytest

from sama_core.launch.places import Places

from ..harness.moving_shapes import moving_shapes
from ..harness.server import TestPlaces
from ..harness.write_clip import write_clip
from .hub import Hub


@dataclass(frozen=True)
class HerePlaces(TestPlaces):
    """Places in a test's own folder, with the interpreter that runs the tests in place of
    `.venv`'s."""

    @property
    def python(self) -> Path:
        return Path(sys.executable)


@pytest.fixture
def places(tmp_path) -> Places:
    return HerePlaces(folder=tmp_path / "runtime")


@pytest.fixture(scope="session")
def clip(tmp_path_factory) -> Path:
    """Nine frames of 64x48 at 12.5 fps."""
    path = tmp_path_factory.mktemp("clip") / "källa klip 1.mp4"
    write_clip(path, moving_shapes(frames=9, width=64, height=48), Fraction(25, 2))
    return path


@pytest.fixture
def hub(monkeypatch):
    """A hub on this machine that HF_ENDPOINT points to."""
    with Hub() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running
