"""On a real Ray cluster of two nodes, in which a ComfyUI, a process of Ray and a node die."""

import csv
import re
from argparse import Namespace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.whole_video import read_packets
from sama_core.clip import ClipRange, FileSource
from sama_core.launch.cli import main
from sama_core.launch.places import PACK_ROOT
from sama_core.launch.server.edit_graph import fill_graph
from sama_core.launch.server.workflow import EDITOR, listed_trio, load_workflow, set_inputs
from sama_core.version import VERSION

from ...harness.moving_shapes import moving_shapes
from ...harness.write_clip import write_clip
from .conftest import kill

FEW = ("--instruction", "make it red", "--steps", "2", "--cfg", "1", "--area", "32x32")
FRAMES, RATE, SEGMENT = 140, 8000, 49
"""Four segments, and two pieces."""
SETTINGS = {"instruction": "make it red", "seed": 1, "steps": 2, "cfg": 1.0, "area": 32 * 32}


def make_clip(path: Path) -> Path:
    times = torch.arange(RATE * FRAMES // 12) / RATE
    waves = torch.stack([(times * hertz * 6.2832).sin() for hertz in (440, 660)])[None] / 3
    sound = {"waveform": waves, "sample_rate": RATE}
    write_clip(path, moving_shapes(FRAMES, 64, 48), Fraction(12), sound)
    return path


def on_one(server, clip: Path) -> Path:
    """The file that SAMA Edit Whole Video gives on one server."""
    graph, client = load_workflow(PACK_ROOT), server.client
    options = Namespace(
        **SETTINGS, frames=None, fit=None, lora=None, weight_dtype="default", mask=None
    )
    fill_graph(graph, client, listed_trio(client), client.upload(clip), clip, options)
    set_inputs(graph, EDITOR, segment_frames=SEGMENT)
    entry = server.run(graph)
    assert entry["status"]["status_str"] == "success", entry["status"]
    return max((server.base / "output/video").glob("*.mp4"), key=lambda path: path.stat().st_mtime)


@pytest.mark.usefixtures("both_started")
def test_a_spread_clip_is_bit_equal_to_one_machines(on_cluster, deaths, comfy_server, tmp_path):
    clip, out = make_clip(tmp_path / "long.mp4"), tmp_path / "spread"
    jobs = out / ".sama_batch/jobs"
    deaths.queue("ComfyUI", lambda one: len([*jobs.glob("*/segments/0*")]) > 0, kill)
    spread = ("--spread", "--segment-frames", str(SEGMENT), "--out", str(out))
    code, printed, said = on_cluster(str(clip), *FEW, *spread)
    assert code == 0, printed + said
    assert deaths.died == ["ComfyUI"]
    assert printed.count("died, and its edit is made again") == 1, printed
    for share in ("segments 1 to 1 of 4", "segments 4 to 4 of 4", "pieces 2 to 2 of 2"):
        assert printed.count(share) == 1, printed
    took_part = re.findall(r"(?:^| · )(ComfyUI \d) on \S+(?:$| died)", printed, re.MULTILINE)
    assert set(took_part) == {"ComfyUI 1", "ComfyUI 2"}
    assert read_packets(out / "long.mp4") == read_packets(on_one(comfy_server, clip))
    assert not jobs.exists(), "cleared when it was done"
    code, printed, _ = on_cluster(str(clip), *FEW, *spread)
    assert code == 0 and "1 done already, 0 edits" in printed


def frames(path: Path) -> np.ndarray:
    return np.stack(list(FileSource(str(path)).frames(ClipRange())))


@pytest.mark.usefixtures("both_started")
def test_a_node_and_a_process_die_and_every_edit_is_right(
    on_cluster, cluster, deaths, comfy_server, places, tmp_path
):
    (tmp_path / "clips").mkdir()
    for number in range(3):
        path = tmp_path / f"clips/{number}.mp4"
        write_clip(path, moving_shapes(5 + number, 64, 48), Fraction(25, 2))
    deaths.queue("node", cluster.is_on_second, lambda comfyui: cluster.kill_second())
    first = lambda comfyui: not cluster.is_on_second(comfyui)  # noqa: E731
    deaths.queue("actor", first, lambda comfyui: kill(comfyui.parent()))
    code, printed, said = on_cluster("clips", *FEW, "--out", "by_ray")
    assert code == 0, printed + said
    assert sorted(deaths.died) == ["actor", "node"]
    assert printed.count("died, and its edit is made again") == 2, printed
    with (tmp_path / "by_ray/report.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["state"] for row in rows] == ["done"] * 3
    assert sum(int(row["tries"]) for row in rows) == 2
    assert {row["server"].partition(" on ")[0] for row in rows} <= {"ComfyUI 1", "ComfyUI 2"}
    assert (
        main(["batch", "clips", *FEW, "--server", comfy_server.url, "--out", "alone"], places) == 0
    )
    for number in range(3):
        one, other = (frames(tmp_path / out / f"{number}.mp4") for out in ("by_ray", "alone"))
        assert np.array_equal(one, other)
    left = list(places.jobs.glob("*/input/*.mp4"))
    assert len(left) == 2, "what the two had that were killed; the others keep no clips"


def test_a_cluster_whose_nodes_lack_the_pack(on_cluster, tmp_path):
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips/a.mp4").write_bytes(b"a")
    code, _, said = on_cluster("clips", *FEW, "--ray-pack", "/nowhere/pack")
    assert code == 1
    assert re.search(r"node \S+: no pack in /nowhere/pack", said) and "--ray-pack" in said
    other = tmp_path / "other"
    (other / "sama_core/launch/cluster").mkdir(parents=True)
    (other / "pyproject.toml").write_text('[project]\nname = "sama"\nversion = "0.1.7"\n')
    code, _, said = on_cluster("clips", *FEW, "--ray-pack", str(other))
    assert code == 1 and "0.1.7" in said and VERSION in said
