"""Downloads from a hub that runs on this machine: whole, resumed, broken, wrong, refused."""

import hashlib
import io
import os
import sys
from pathlib import Path

import huggingface_hub
import huggingface_hub.file_download
import pytest

from sama_core.launch.commands.models import download
from sama_core.launch.progress import LaunchError, Stages
from sama_core.launch.setup import hub_download
from sama_core.launch.setup.hub_download import Refused, Spec, fetch
from sama_core.released_files import ModelFile

NAME = "someone/SAMA/folder/model.safetensors"
CONTENT = bytes(range(256)) * 4096
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def here(hub, monkeypatch, tmp_path) -> Spec:
    """What to fetch from the local hub, in this process; the library waits for nothing between two
    tries."""
    hub.files[NAME] = CONTENT
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(
        huggingface_hub.constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        hub.url + "/{repo_id}/resolve/{revision}/{filename}",
    )
    monkeypatch.setattr(huggingface_hub.file_download.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 64 << 10)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DOWNLOAD_TIMEOUT", 120)
    target = tmp_path / "models" / "diffusion_models" / "model.safetensors"
    return Spec("someone/SAMA", "folder/model.safetensors", target, len(CONTENT), SHA256)


def _files(spec: Spec) -> list[str]:
    return sorted(path.name for path in spec.target.parent.iterdir())


def test_a_whole_download(hub, here):
    assert fetch(here) == here.target
    assert here.target.read_bytes() == CONTENT
    assert _files(here) == ["model.safetensors"]
    assert hub.ranges == [None]


def test_a_transfer_that_breaks_goes_on_in_the_same_run(hub, here):
    hub.cuts = [300_000]
    fetch(here)
    assert here.target.read_bytes() == CONTENT
    assert hub.ranges[0] is None and hub.ranges[1].startswith("bytes=")


def test_a_later_run_fetches_only_what_is_missing(hub, here):
    here.target.parent.mkdir(parents=True)
    part = here.target.with_name(f"{here.target.name}.{SHA256[:12]}.part")
    part.write_bytes(CONTENT[:700_000])
    fetch(here)
    assert here.target.read_bytes() == CONTENT
    assert hub.ranges == ["bytes=700000-"]


def test_a_run_that_gives_up_keeps_what_came(hub, here):
    hub.cuts = [100_000, *[0] * 20]
    with pytest.raises(Refused, match="the download stopped .* continues where it stopped"):
        fetch(here)
    assert not here.target.exists()
    [part] = here.target.parent.iterdir()
    assert part.read_bytes() == CONTENT[: part.stat().st_size] and part.stat().st_size > 0


def test_a_damaged_file_is_refused_and_removed(hub, here):
    hub.checksums[NAME] = SHA256
    hub.files[NAME] = CONTENT[:-1] + b"X"
    with pytest.raises(Refused, match=f"needs {SHA256[:12]}….* was removed"):
        fetch(here)
    assert _files(here) == []


def test_a_file_that_changed_on_the_hub_is_not_even_fetched(hub, here):
    hub.files[NAME] = b"another model"
    with pytest.raises(Refused, match="now offers another file"):
        fetch(here)
    assert hub.ranges == []


def test_without_a_known_sum_the_hubs_own_is_checked(hub, here):
    hub.checksums[NAME] = "0" * 64
    with pytest.raises(Refused, match="needs 000000000000"):
        fetch(Spec(here.repo, here.path, here.target))


def test_a_part_longer_than_the_file_starts_over(hub, here):
    here.target.parent.mkdir(parents=True)
    here.target.with_name(f"{here.target.name}.{SHA256[:12]}.part").write_bytes(CONTENT + b"more")
    fetch(here)
    assert here.target.read_bytes() == CONTENT
    assert hub.ranges == [None]


def test_a_missing_file_names_itself(hub, here):
    hub.files.clear()
    with pytest.raises(Refused, match=r"^model.safetensors: the hub refused it \(404"):
        fetch(here)


def test_a_full_disk_is_noticed_before(hub, here, monkeypatch):
    monkeypatch.setattr(
        hub_download.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 1000})
    )
    with pytest.raises(Refused, match="GB free in"):
        fetch(here)
    assert hub.ranges == []


def _model_file(sha256: str = SHA256) -> ModelFile:
    return ModelFile(
        "SAMA model",
        "model.safetensors",
        "diffusion_models",
        "someone/SAMA",
        "folder/model.safetensors",
        len(CONTENT),
        sha256,
    )


def test_the_command_downloads_through_hf_endpoint(hub, tmp_path):
    hub.files[NAME] = CONTENT
    download(_model_file(), tmp_path, Path(sys.executable), Stages(io.StringIO()))
    assert _model_file().place(tmp_path).read_bytes() == CONTENT


def test_the_command_says_why_it_failed(hub, tmp_path):
    hub.files[NAME] = CONTENT
    with pytest.raises(LaunchError, match="^model.safetensors: the hub now offers another file"):
        download(_model_file("1" * 64), tmp_path, Path(sys.executable), Stages(io.StringIO()))
    assert not _model_file().place(tmp_path).exists()


def test_a_hub_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(LaunchError, match="the hub was not reached"):
        download(_model_file(), tmp_path, Path(sys.executable), Stages(io.StringIO()))


def test_how_far_it_is_is_shown(hub, tmp_path):
    hub.files[NAME], stream = CONTENT, io.StringIO()
    stages = Stages(stream)
    stages.start("download")
    download(_model_file(), tmp_path, Path(sys.executable), stages)
    assert "[download] 100% · 1.05M/1.05M · " in stream.getvalue()


def test_a_download_that_is_stopped_leaves_no_process(tmp_path):
    """As by SIGTERM, which reaches the command alone: a second one would write the same file."""

    class Stopped(Stages):
        def say(self, text):
            raise KeyboardInterrupt

    worker, number = tmp_path / "python", tmp_path / "number"
    worker.write_text(f"#!/bin/sh\necho $$ > {number}\necho begun >&2\nexec sleep 600\n")
    worker.chmod(0o755)
    with pytest.raises(LaunchError, match="the same command continues from there"):
        download(_model_file(), tmp_path, worker, Stopped(io.StringIO()))
    with pytest.raises(ProcessLookupError):
        os.kill(int(number.read_text()), 0)
