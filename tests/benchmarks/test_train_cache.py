"""`benchmarks/train_cache.py` on tiny clips."""

import json

from benchmarks import train_cache


def test_what_is_kept_is_as_large_as_computed(tmp_path):
    """Two pairs: latents of 16 x 2 x 4 x 4 float32 for each clip, and texts and tokens beside."""
    words = ["--pairs", "2", "--frames", "5", "--height", "32", "--width", "32", "--steps", "3"]
    path = tmp_path / "found.json"
    assert train_cache.main([*words, "--json", str(path)]) == 0
    found = json.loads(path.read_text())
    assert found["latents_bytes_computed"] == 4 * 16 * 2 * 4 * 4 * 4
    assert found["cache_bytes"] > found["latents_bytes_computed"]
    assert set(found["seconds_a_batch"]) == {"without", "ahead", "kept"}
