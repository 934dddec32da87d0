"""What clips are known by, and the file of their digests."""

import errno
import hashlib

from sama_core.launch.batch.batch_rows import Clip
from sama_core.launch.batch.clip_digests import ClipDigests
from sama_core.launch.batch.jsonl_file import JsonlFile


def test_a_clip_is_no_worse_for_a_full_disk(tmp_path, monkeypatch):
    """The digest is known all the same; else each row failed as a clip that cannot be read."""

    def refuse(file, line):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(JsonlFile, "append", refuse)
    (tmp_path / "a.mp4").write_bytes(b"clip")
    digests = ClipDigests(tmp_path / "digests.jsonl")
    assert digests.of(Clip(tmp_path / "a.mp4")) == hashlib.sha256(b"clip").hexdigest()
