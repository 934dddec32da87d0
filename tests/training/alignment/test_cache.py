"""The cache of teachers' features: what is kept comes back, what is damaged is made again."""

import itertools

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from sama_core.errors import SamaError
from sama_core.training.alignment.cache import FACTS, FeatureCache


@pytest.fixture
def cache(tmp_path):
    return FeatureCache(tmp_path, "sam2:large", (480, 832), 49, "fused", 0.5)


def test_what_is_kept_comes_back(cache):
    flow = torch.randn(3, 4, 4, 49)
    flow[:, 0, :, :7] = -torch.inf
    assert cache.get("clip.mp4", 0) is None
    cache.put({"flow": flow, "saliency": torch.rand(4, 4, 4)}, "clip.mp4", 0)
    kept = cache.get("clip.mp4", 0)
    assert kept["flow"].dtype == torch.float32 and torch.equal(kept["flow"], flow.half().float())
    assert kept.keys() == {"flow", "saliency"}
    assert sum(file.is_file() for file in cache.folder.rglob("*")) == 1


def test_another_clip_start_teacher_or_size_is_another_file(cache, tmp_path):
    paths = [cache.path("clip.mp4", 0), cache.path("clip.mp4", 20), cache.path("clip.mp", "40")]
    settings = itertools.product(
        [("sam2:tiny", (480, 832)), ("sam2:large", (480, 480)), ("sam2:large", (480, 832))],
        (0.5, 0.4),
    )
    paths += [
        FeatureCache(tmp_path, *parts, 49, "fused", fusion).path("clip.mp4", 0)
        for parts, fusion in settings
    ]
    assert paths.pop(-2) == cache.path("clip.mp4", 0)
    assert len(set(paths)) == len(paths)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-9],
        lambda data: b"",
        lambda data: b"\xff" * 99,
        lambda data: bytes(len(data)),
        lambda data: data[:-9] + bytes(9),  # of a computer that lost its power
    ],
)
def test_a_damaged_file_counts_as_missing(cache, damage):
    cache.put({"flow": torch.ones(2, 3)}, "clip.mp4")
    path = cache.path("clip.mp4")
    path.write_bytes(damage(path.read_bytes()))
    assert cache.get("clip.mp4") is None
    cache.put({"flow": torch.ones(2, 3)}, "clip.mp4")
    assert torch.equal(cache.get("clip.mp4")["flow"], torch.ones(2, 3))


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_values_that_are_no_numbers_are_refused(cache, value):
    with pytest.raises(SamaError, match="teacher's flow: got values that are no numbers"):
        cache.put({"flow": torch.tensor([1.0, value])}, "clip.mp4")
    assert not list(cache.folder.rglob("*.safetensors"))


def test_values_beyond_half_precision_are_held_at_its_limit(cache):
    cache.put({"flow": torch.tensor([1e6, -1e6, -torch.inf])}, "clip.mp4")
    assert cache.get("clip.mp4")["flow"].tolist() == [65504, -65504, -torch.inf]


def test_a_file_of_before_says_nothing_of_what_it_holds(cache):
    path = cache.path("clip.mp4")
    path.parent.mkdir(parents=True)
    save_file({"flow": torch.ones(2, 3).half()}, path)
    assert torch.equal(cache.get("clip.mp4")["flow"], torch.ones(2, 3))


def test_a_full_disk_is_an_error_of_the_system(cache, monkeypatch):
    """As any other file's: what makes features tells it in a line, and goes on where it was."""

    def fail(*_args, **_more):
        raise SafetensorError(
            "Error while serializing: I/O error: No space left on device (os error 28)"
        )

    monkeypatch.setattr("sama_core.weights.write.save_file", fail)
    with pytest.raises(OSError, match="No space left on device") as failed:
        cache.put({"flow": torch.ones(2, 3)}, "clip.mp4")
    assert failed.value.errno == 28 and failed.value.filename == str(cache.path("clip.mp4"))
    assert not [file for file in cache.folder.rglob("*") if file.is_file()]


@pytest.mark.parametrize(
    "put",
    [
        lambda cache: cache.put({"flow": torch.ones(2, 3)}, "clip.mp4"),
        lambda cache: cache.put_facts({"teacher": "sam2:large"}),
    ],
)
def test_a_folder_in_the_place_of_a_file_is_named_and_kept(cache, put):
    path = cache.path("clip.mp4")
    for folder in (path, path.with_name(FACTS)):
        folder.mkdir(parents=True)
        (folder / "notes.txt").write_text("mine")
    assert cache.get("clip.mp4") is None and cache.facts == {}
    with pytest.raises(SamaError, match="got a folder of that name, which is kept, needs") as said:
        put(cache)
    assert str(said.value).startswith(str(path.parent)) and ".part" not in str(said.value)
    files = [file for file in cache.folder.rglob("*") if file.is_file()]
    assert [file.read_text() for file in files] == ["mine", "mine"]
