"""The benchmark of drafts: it drafts as the node does, goes on where it stopped, counts rightly."""

import json

import pytest
import torch

from benchmarks.shapes import draft_promise as bench
from benchmarks.shapes.comfyui_editor import write_lossless
from sama_core import embedded
from sama_core.shapes.gate import Settings, load_core_editor
from sama_core.shapes.gate.clip_scores import to_bytes

from ...comfyui.graphs import Graph


def test_a_draft_is_the_nodes_own(comfyui):
    """Frames 0, 8 and 16 of one clip: the same pixels as SAMA Drafts', but for rounding."""
    batch, words = bench.clips_of("any background", 7, 0, 1)
    frames = to_bytes(batch.source)
    editor = load_core_editor(bench.FILES, Settings(steps=3))
    ours = bench.draft(editor, frames, words, [11])[0]
    write_lossless(comfyui.base / "input" / "promise.mkv", frames[0].numpy())
    graph = Graph()
    model = graph.add("SAMALoadModel", model_name=embedded.DIT.name, weight_dtype="default")
    source = graph.add(
        "SAMASourceVideo",
        video=graph.add("LoadVideo", file="promise.mkv"),
        frames=0,
        start=0,
        stride=1,
        area=64 * 64,
        fps=24.0,
    )
    drafts = graph.add(
        "SAMADrafts",
        model=model,
        clip=graph.add("SAMALoadTextEncoder", text_encoder_name=embedded.TEXT_ENCODER.name),
        vae=graph.add("SAMALoadVAE", vae_name=embedded.VAE.name),
        frames=source,
        instructions=words[0],
        seeds="11",
        anchor_frames="0, 8, 16",
        steps=3,
        cfg=embedded.CFG,
        shift=5.0,
        sampler_name="euler",
        edit_tag=True,
        tiling="automatic",
    )
    pictures = comfyui.run(graph.nodes, keep=[drafts[0]]).check().values[drafts[0]][1]
    theirs = (pictures * 255).round().int()
    assert (theirs - ours.int()).abs().max() <= 1
    # Noise of its own would be another draft.
    other = bench.draft(editor, frames, words, [11], own_noise=True)[0]
    assert (theirs - other.int()).abs().max() > 20


def test_a_run_that_was_stopped_goes_on(tmp_path, capsys):
    lines, report = tmp_path / "lines.jsonl", tmp_path / "promise.json"
    options = ["--groups", "remove", "any colour", "--steps", "1", "--batch", "1", "--own", "1"]
    options += ["--others", "1", "--lines", str(lines), "--json", str(report)]
    assert bench.main([*options, "--n", "1"]) == 0
    first = lines.read_text()
    assert len(first.splitlines()) == 3 and json.loads(first.splitlines()[0])["seed"] == 0
    lines.write_text(first + '{"clip": ["remove", 1], "wor')  # killed while it wrote
    assert bench.main([*options, "--n", "2"]) == 0
    assert lines.read_text().startswith(first) and len(lines.read_text().splitlines()) == 5
    found = json.loads(report.read_text())
    assert list(found["groups"]) == ["remove", "any colour", "together"]
    assert found["groups"]["together"]["0"]["clips"] == 4
    row = found["groups"]["remove"]["16"]
    assert row["clips"] == 2 and row["same"]["clips"] == 2 and row["other"]["clips"] == 1
    assert found["ran"]["clips"] == 2 and found["ran"]["files"]["dit"]["sha256"]
    options[options.index("--others") + 1] = "2"  # asks for more of a clip that was measured
    assert bench.main([*options, "--n", "2"]) == 0
    row = json.loads(report.read_text())["groups"]["remove"]["16"]
    assert row["clips"] == 2 and row["other"]["clips"] == 2
    assert bench.main([*options, "--n", "2", "--seed", "1"]) == 2
    assert "--lines: got " in capsys.readouterr().err


def test_pairs_by_hand():
    """dB of a difference of 0.1: 20. Alike means nearest to the same edit, right or wrong."""
    options = torch.stack([torch.full((2, 2, 3), value) for value in (0.0, 0.5, 1.0)])
    shown = {
        "draft": torch.full((2, 2, 3), 0.5),
        "full": torch.full((2, 2, 3), 0.6),
        "other": torch.full((2, 2, 3), 0.9),
    }
    found = bench.compare(shown, options)
    assert found["nearest"] == {"draft": 1, "full": 1, "other": 2}
    assert found["same"] == {"db": 20.0, "alike": True}
    assert not found["other"]["alike"] and not found["edits"]["alike"] and "own" not in found
    row = bench.summarise([found, found])
    assert row["same"]["alike"] == 1.0 and row["other"]["alike"] == 0.0
    assert row["gain_db"]["mean"] == pytest.approx(20.0 - 7.959, abs=1e-3)
    assert row["kept"] == {"gained": 2, "lost": 0, "p": 0.5}
    assert row["right"] == {"draft": 0, "full": 0}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--n", "0"], "--n: got 0"),
        (["--groups", "paint"], "--groups: got paint, needs some of recolour"),
        (["--lines", "nowhere/lines.jsonl"], "folder that exists"),
    ],
)
def test_what_cannot_be_measured_is_told_before_anything_is_loaded(capsys, arguments, told):
    assert bench.main(arguments) == 2
    assert told in capsys.readouterr().err
