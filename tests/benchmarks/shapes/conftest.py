"""The model with random weights that the gate's command edits with."""

import pytest

from sama_core.shapes.gate.core_editor import ModelFiles

from ...harness.untrained import write_untrained_shapes


@pytest.fixture(scope="session")
def random_files(tmp_path_factory) -> ModelFiles:
    """The untrained DiT and text encoder, and the trained VAE."""
    return write_untrained_shapes(tmp_path_factory.mktemp("models"))
