"""Fetches one file from a model hub: `python hub_download.py SPEC`, run in the environment.

SPEC is JSON: repo, path, size, sha256 and target. The library huggingface_hub provides addresses,
credentials, redirects and retries; HF_ENDPOINT is honoured. It does not keep an unfinished file
when it ends, so the file is kept here as `<target>.<checksum>.part`: the next run continues it,
checks it as a whole and only then renames it.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

SPARE_BYTES = 100 << 20
"""Room that must stay free on the disk."""
LIMITS = ("HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT")
SILENCE_SECONDS = 60
"""How long the hub may be silent, where the library's own limits are not set: its 10 seconds are
short for a busy computer.
"""


class Refused(Exception):
    """A file that cannot be downloaded; the text says why."""


@dataclass(frozen=True)
class Spec:
    """What to fetch, what it must be, and where to save it."""

    repo: str
    """Repository on the hub."""
    path: str
    """Path of the file in the repository."""
    target: Path
    """Where to save it."""
    size: int | None = None
    """Bytes; None if the hub's own figure is trusted."""
    sha256: str | None = None
    """Hexadecimal checksum; None if the hub's own one is trusted."""

    @classmethod
    def from_json(cls, text: str) -> "Spec":
        """Reads a spec as it is given on the command line."""
        fields = json.loads(text)
        return cls(**fields | {"target": Path(fields["target"])})


def fetch(spec: Spec) -> Path:
    """Downloads to `spec.target` and returns that path. Raises Refused; a wrong file is deleted."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError

    url = hf_hub_url(spec.repo, spec.path)
    name = spec.target.name
    try:
        offered = get_hf_file_metadata(url)
    except HfHubHTTPError as error:
        raise Refused(
            f"{name}: the hub refused it ({_short(error)}). Log in with `hf auth login` if the "
            "repository asks for it."
        ) from error
    except Exception as error:
        raise Refused(
            f"{name}: the hub was not reached ({_short(error)}). Check the network, or HF_ENDPOINT "
            "if you set it, and run the same command again."
        ) from error
    checksum = _expected_checksum(spec, offered.etag)
    size = offered.size or spec.size
    part = spec.target.with_name(f"{name}.{(checksum or offered.etag or 'unknown')[:12]}.part")
    _receive(url, part, size, name)
    _verify(part, checksum, size, name)
    part.replace(spec.target)
    return spec.target


def _expected_checksum(spec: Spec, etag: str | None) -> str | None:
    """The spec's sha256, or else the hub's. Raises Refused if the file on the hub has changed."""
    offered = etag if etag and re.fullmatch(r"[0-9a-f]{64}", etag) else None
    if spec.sha256 and offered and offered != spec.sha256:
        raise Refused(
            f"{spec.target.name}: the hub now offers another file (sha256 {offered[:12]}…, this "
            f"pack knows {spec.sha256[:12]}…), so it was not downloaded. Update the pack."
        )
    return spec.sha256 or offered


def _receive(url: str, part: Path, size: int | None, name: str) -> None:
    """Downloads the missing rest of the partial file."""
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    part.parent.mkdir(parents=True, exist_ok=True)
    have = part.stat().st_size if part.exists() else 0
    if size is not None and have > size:
        part.unlink()
        have = 0
    free = shutil.disk_usage(part.parent).free
    if size is not None and size - have + SPARE_BYTES > free:
        raise Refused(
            f"{name}: {free / 1e9:.1f} GB free in {part.parent}, needs {(size - have) / 1e9:.1f} "
            "GB. Free some, or give another folder with --dir."
        )
    try:
        with part.open("ab") as file:
            http_get(
                url,
                file,
                resume_size=have,
                headers=build_hf_headers(),
                expected_size=size,
                displayed_filename=name,
            )
    except Exception as error:
        raise Refused(
            f"{name}: the download stopped ({_short(error)}). Run the same command again: it "
            "continues where it stopped."
        ) from error


def _verify(part: Path, checksum: str | None, size: int | None, name: str) -> None:
    got = part.stat().st_size
    if size is not None and got != size:
        part.unlink()
        raise Refused(
            f"{name}: got {got:,} bytes, needs {size:,}. "
            "The file was removed; run the same command again."
        )
    if checksum is None:
        return
    print(f"{name}: checking sha256", flush=True)
    with part.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != checksum:
        part.unlink()
        raise Refused(
            f"{name}: sha256 is {found[:12]}…, needs {checksum[:12]}…. The file was damaged during "
            "the download and was removed; run the same command again."
        )


def _short(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


if __name__ == "__main__":
    for limit in LIMITS:  # the library reads them when it is imported
        os.environ.setdefault(limit, str(SILENCE_SECONDS))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("spec", type=Spec.from_json, metavar="SPEC", help="JSON")
    try:
        print(f"done: {fetch(parser.parse_args().spec)}", flush=True)
    except Refused as refused:
        sys.exit(str(refused))
    except KeyboardInterrupt:
        sys.exit("Stopped. What is downloaded is kept; the same command continues from there.")
