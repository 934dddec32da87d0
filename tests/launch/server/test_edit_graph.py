"""What an edit's graph is told of its clip."""

import os
import re
from pathlib import Path

import pytest

from sama_core.launch.server.edit_graph import unique_name


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("klip 1.mp4", "klip 1"),
        ("a:b%c.mp4", "a_b_c"),
        (os.fsdecode(b"caf\xe9.mp4"), "caf_"),  # Latin-1, which no server could send back
    ],
)
def test_the_result_on_the_server_is_named_after_the_clip(name, shown):
    given = unique_name(Path(name), 7)
    assert re.fullmatch(f"video/{shown} seed 7 [0-9a-f]{{12}}", given)
    assert given.encode()
