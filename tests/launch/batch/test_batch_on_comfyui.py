"""Batches on a real server: videos, and frames in 16 bits."""

import csv
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from sama_core.clip import ClipRange, FileSource
from sama_core.launch.cli import main
from sama_core.launch.setup.environment import Environment
from sama_core.version import VERSION

from ...harness.comfy_home import comfy_source
from ...harness.moving_shapes import moving_shapes
from ...harness.write_clip import write_clip

FEW = ("--instruction", "make it red", "--steps", "1", "--cfg", "1", "--area", "64x64")


@pytest.fixture
def run(places, comfy_server, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Environment, "ready", lambda self, asked=None: comfy_source())

    def command(*arguments: str) -> tuple[int, str]:
        code = main(["batch", *arguments, *FEW, "--server", comfy_server.url], places)
        return code, capsys.readouterr().out

    return command


def report(out: Path) -> list[dict]:
    with (out / "report.csv").open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def save_picture(path: Path, pixels: np.ndarray, codec: str, form: str) -> None:
    """uint16 RGB as one file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="image2") as container:
        stream = container.add_stream(codec, rate=24)
        stream.height, stream.width, stream.pix_fmt = *pixels.shape[:2], form
        picture = av.VideoFrame.from_ndarray(pixels, "rgb48le").reformat(format=form)
        container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


def read_picture(path: Path) -> tuple[str, np.ndarray]:
    with av.open(str(path)) as container:
        picture = next(container.decode(video=0))
        return picture.format.name, picture.to_ndarray(format="rgb48le").astype(int)


def test_clips_are_edited_measured_and_shown(run, tmp_path):
    (tmp_path / "clips").mkdir()
    write_clip(tmp_path / "clips/it's 💥.mp4", moving_shapes(5, 64, 48), Fraction(25, 2))
    (tmp_path / "clips/notes.mp4").write_text("no video at all")
    code, _printed = run("clips")
    out = tmp_path / "clips_sama"
    facts = FileSource(str(out / "it's 💥.mp4")).facts()
    assert (facts.width, facts.height, facts.fps, facts.frame_count) == (64, 48, Fraction(25, 2), 5)
    good, bad = report(out)
    assert code == 1 and (good["state"], bad["state"]) == ("done", "failed")
    assert "SAMA Edit Whole Video" in bad["error"] and "not a video" in bad["error"]
    assert 0 < float(good["changed"]) < 1 and 10 < float(good["kept_db"]) < 60
    small = sorted(path.name[16:] for path in (out / "report_files").iterdir())
    assert small == ["_after.jpg", "_before.jpg"]
    assert 'src="report_files/' in (out / "report.html").read_text(encoding="utf-8")


def test_frames_come_back_in_16_bits_under_their_names(run, tmp_path):
    """The sides that the working area leaves out are the source's own, to a step of 65,535."""
    shot = np.zeros((48, 96, 3), np.uint16)
    shot[..., 0] = np.linspace(0, 65535, 96).astype(np.uint16)
    shot[..., 1] = np.linspace(0, 65535, 48).astype(np.uint16)[:, None]
    for number in (98, 99, 100):
        save_picture(tmp_path / f"in/png/shot_{number:04}.png", shot, "png", "rgb48be")
        save_picture(tmp_path / f"in/exr/x.{number}.exr", shot, "exr", "gbrpf32le")
    code, printed = run("in", "--fps", "24", "--frames")
    out = tmp_path / "in_sama"
    assert code == 0, printed
    assert sorted(path.name for path in (out / "png").iterdir()) == [
        "shot_0098.png", "shot_0099.png", "shot_0100.png"
    ]  # fmt: skip
    assert sorted(path.name for path in (out / "exr").iterdir()) == [
        "x.100.png", "x.98.png", "x.99.png"
    ]  # fmt: skip
    form, edited = read_picture(out / "png/shot_0099.png")
    assert form == "rgb48be" and edited.shape == shot.shape
    sides = np.r_[0:24, 72:96]
    assert np.abs(edited - shot)[:, sides].max() <= 1 < np.abs(edited - shot)[:, 24:72].max()
    # Light of 1/16, 0.5 and 1 in sRGB's code values (IEC 61966-2-1).
    _, edited = read_picture(out / "exr/x.99.png")
    linear = shot[0, sides, 0] / 65535
    coded = np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)
    assert np.abs(edited[0, sides, 0] / 65535 - coded).max() < 0.004


def test_frames_outside_of_a_mask_are_the_sources(run, tmp_path):
    """Of a long clip, in two segments; the mask is a picture of another size."""
    write_clip(tmp_path / "shot.mp4", moving_shapes(89, 64, 64), Fraction(12))
    mask = np.zeros((32, 32), np.uint16)
    mask[:, :16] = 65535
    save_picture(tmp_path / "left.png", np.repeat(mask[..., None], 3, -1), "png", "rgb48be")
    (tmp_path / "shots.csv").write_text("clip,mask\nshot.mp4,left.png\n")
    code, printed = run("shots.csv", "--frames")
    assert code == 0, printed
    edited = [read_picture(path)[1] for path in sorted((tmp_path / "shots_sama/shot").iterdir())]
    source = [
        frame.astype(int) * 257
        for frame in FileSource(str(tmp_path / "shot.mp4")).frames(ClipRange())
    ]
    assert len(edited) == 89
    changed = np.abs(np.stack(edited) - np.stack(source)) / 257
    assert changed[:, :, 34:].max() <= 1 and changed[:, :, :30].mean() > 8


def test_the_server_tells_the_packs_version(comfy_server):
    assert comfy_server.client.pack() == {"version": VERSION, "id": None, "unused": []}


def test_a_source_of_16_bit_rgb_is_white_where_it_is_full(tmp_path):
    """FFmpeg's own 16-bit numbers go to 65,535; those that it makes of 8 bits go to 65,280."""
    full = np.full((16, 16, 3), 65535, np.uint16)
    full[:8] = 32768
    save_picture(tmp_path / "full.png", full, "png", "rgb48be")
    picture = next(iter(FileSource(str(tmp_path / "full.png")).pictures(ClipRange(), True)))
    assert set(np.unique(picture.pixels)) == {32640, 65280}
