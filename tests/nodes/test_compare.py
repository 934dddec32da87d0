"""SAMA Compare through the real executor: clips of all kinds, and clips that do not fit."""

import pytest

from sama_core.clip import ClipRange, FileSource

from ..comfyui.graphs import Graph
from ..harness.numbered_clips import HEIGHT, WIDTH, number_in, write_numbered

MS = [round(1000 * number / 24) for number in range(17)]


def numbered(comfyui, name, count, rate=24, **options):
    """A file of `count` pictures that carry their numbers; returns its name."""
    stamps = [round(1000 * number / rate) for number in range(count)]
    write_numbered(comfyui.base / "input" / name, stamps, rate=rate, **options)
    return name


def compare(graph, **inputs):
    settings = {"layout": "side by side", "position": 0.5, "fps": 0.0}
    return graph.add("SAMACompare", **{**settings, **inputs})


def shown(comfyui, graph, link):
    """What the player gets, and the VIDEO."""
    result = comfyui.run(graph.nodes, keep=[link[0]]).check()
    return result.outputs[link[0]]["sama_compare"][0], result.values[link[0]][0]


def pictures(comfyui, film):
    """Both halves of every picture of the player's film, with their times."""
    assert film["type"] == "temp"
    path = comfyui.base / "temp" / film["subfolder"] / film["filename"]
    high = film["height"]
    for picture in FileSource(str(path)).pictures(ClipRange()):
        yield picture.time, picture.pixels[:high], picture.pixels[high:]


def test_two_files_are_packed_frame_by_frame(comfyui):
    graph = Graph()
    edit = graph.add("LoadVideo", file=numbered(comfyui, "edit.mkv", 17))
    source = graph.add("LoadVideo", file=numbered(comfyui, "source.mkv", 17))
    film, video = shown(comfyui, graph, compare(graph, edit=edit, source=source))
    found = list(pictures(comfyui, film))
    assert [number_in(source) for _, source, _ in found] == list(range(17))
    assert [number_in(edit) for _, _, edit in found] == list(range(17))
    assert (film["width"], film["height"], film["count"]) == (WIDTH, HEIGHT, 17)
    assert film["fps"] == pytest.approx(24, abs=0.01) and film["times"] is None
    assert film["remarks"] == [] and film["sounds"] == {}
    assert (video.get_dimensions(), video.get_frame_count()) == ((2 * WIDTH, HEIGHT), 17)
