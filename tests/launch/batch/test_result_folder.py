"""Results behind an fsspec URL: a folder that is renamed into, and a store that gets them whole."""

import shutil

import fsspec
import pytest

from sama_core.launch.batch.result_folder import UrlResults, hide_password
from sama_core.launch.progress import LaunchError

from .stand_in_comfy import edit_of

RED = ("--instruction", "make it red", "--seed", "7")


@pytest.fixture(params=["file", "memory"])
def url(request, tmp_path):
    yield f"file://{tmp_path}/bucket/run" if request.param == "file" else "memory://bucket/run"
    if request.param == "memory":
        fsspec.filesystem("memory").rm("/bucket", recursive=True)


def test_results_record_and_report_go_behind_a_url(run, server, clips, places, url):
    clips("a.mp4", "day 1/b.mp4", "day 1/same.mp4")
    files, root = fsspec.core.url_to_fs(url)
    (clips() / "day 1/same.mp4").write_bytes(b"clip a.mp4")
    code, printed, error = run("clips", *RED, "--server", server.url, "--out", url)
    assert code == 0 and f"{url}/report.html" in printed, printed + error
    assert files.cat(f"{root}/day 1/b.mp4") == edit_of(b"clip day 1/b.mp4", "make it red", 7)
    assert files.cat(f"{root}/day 1/same.mp4") == files.cat(f"{root}/a.mp4")
    assert {path.rpartition("/")[2] for path in files.find(root)} == {
        *("a.mp4", "b.mp4", "same.mp4", "ledger.jsonl", "report.csv", "report.html")
    }
    here = places.runtime / "batches"
    assert [*here.rglob("*.mp4")] == [], "nothing stays here but record and report"
    assert len(server.edits) == 2
    # Another machine, which has no record: it is fetched.
    shutil.rmtree(here)
    files.rm_file(f"{root}/day 1/b.mp4")
    assert run("clips", *RED, "--server", server.url, "--out", url)[0] == 0
    assert len(server.edits) == 3 and files.exists(f"{root}/day 1/b.mp4")


def test_a_record_gets_what_another_machine_has_done(run, server, clips, places, url):
    clips("a.mp4")
    here, elsewhere = places.runtime / "batches", places.runtime / "elsewhere"
    asked = "clips", *RED, "--server", server.url, "--out", url
    assert run(*asked)[0] == 0
    shutil.copytree(here, elsewhere)
    clips("b.mp4")
    assert run(*asked)[0] == 0 and len(server.edits) == 2
    shutil.rmtree(here)
    elsewhere.rename(here)  # the first machine again, which knows of a.mp4 alone
    clips("c.mp4")
    assert run(*asked)[0] == 0
    assert len(server.edits) == 3, "b.mp4 is done"
    files, root = fsspec.core.url_to_fs(url)
    assert files.cat(f"{root}/.sama_batch/ledger.jsonl").count(b'"done"') == 3


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sftp://me:p@ss:word@host/run", "sftp://me:…@host/run"),
        ("abfs://runs@store.core/run", "abfs://runs@store.core/run"),
        ("s3://bucket/a:b@c", "s3://bucket/a:b@c"),
        ("simplecache::ftp://me:secret@host/run", "simplecache::ftp://me:…@host/run"),
    ],
)
def test_passwords_are_not_shown(url, shown):
    assert hide_password(f"Report: {url}") == f"Report: {shown}"


def test_an_upload_that_fails_is_a_failed_row_and_leaves_nothing(run, server, clips, monkeypatch):
    clips("a.mp4")
    put = UrlResults.put

    def refuse(self, part, name):
        raise PermissionError("403 Forbidden")

    monkeypatch.setattr(UrlResults, "put", refuse)
    code, printed, _ = run("clips", *RED, "--server", server.url, "--out", "memory://refused")
    assert code == 1 and "403 Forbidden" in printed
    monkeypatch.setattr(UrlResults, "put", put)
    assert run("clips", *RED, "--server", server.url, "--out", "memory://refused")[0] == 0
    fsspec.filesystem("memory").rm("/refused", recursive=True)


def test_a_url_that_cannot_be_used_is_named(tmp_path):
    with pytest.raises(LaunchError, match="nosuch://me:…@bucket.*fsspec URL") as refused:
        UrlResults("nosuch://me:secret@bucket/run", tmp_path, ())
    assert "secret" not in str(refused.value)


def test_a_dry_run_makes_nothing_behind_a_url(run, server, clips, url):
    clips("a.mp4")
    files, root = fsspec.core.url_to_fs(url)
    asked = "clips", *RED, "--server", server.url, "--out", url
    code, printed, error = run(*asked, "--dry-run")
    assert code == 0 and "1 rows: 0 done" in printed, printed + error
    assert not files.exists(root)
    assert run(*asked)[0] == 0
    assert "1 rows: 1 done" in run(*asked, "--dry-run")[1]
