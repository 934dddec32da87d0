"""Which port a server gets."""

import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from sama_core.launch.places import PACK_ROOT
from sama_core.launch.progress import LaunchError
from sama_core.launch.server.ports import check_port, claim_port, free_port


def test_ports():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(LaunchError, match=rf"^port {port}: got not usable .*--port"):
            check_port(port, "127.0.0.1")
    check_port(free_port(), "127.0.0.1")
    with pytest.raises(LaunchError, match="port 70000"):
        check_port(70000, "127.0.0.1")


def test_a_claimed_port_is_one_commands_alone():
    port = free_port()
    with claim_port(port, "127.0.0.1"), pytest.raises(LaunchError, match="another run"):
        claim_port(port, "127.0.0.1").__enter__()
    with claim_port(port, "127.0.0.1"):
        pass
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(LaunchError, match=f"port {port}: got not usable"):
            claim_port(port, "127.0.0.1").__enter__()


def test_a_claim_is_one_for_all_copies_of_the_pack(tmp_path):
    """Each has a folder of its own for everything that it writes."""
    port, copies = free_port(), []
    for name in ("first", "second"):
        shutil.copytree(PACK_ROOT / "sama_core", tmp_path / name / "sama_core")
        shutil.copy(PACK_ROOT / "pyproject.toml", tmp_path / name)
        copies.append(start_claim(tmp_path / name, port))
    first, second = (process.stdout.readline() for process in copies)
    assert first == "claimed\n" and f"port {port}: got not usable (another run.py" in second
    for process in copies:
        process.communicate()


def start_claim(copy: Path, port: int) -> subprocess.Popen:
    program = (
        "import sys\n"
        "from sama_core.launch.server.ports import claim_port\n"
        "try:\n"
        f"    with claim_port({port}, '127.0.0.1'):\n"
        "        print('claimed')\n"
        "        sys.stdin.read()\n"
        "except ValueError as error:\n"
        "    print(error)\n"
    )
    return subprocess.Popen(
        [sys.executable, "-u", "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=copy,
        encoding="utf-8",
    )


def test_where_no_claim_can_be_written_the_port_is_had_all_the_same(monkeypatch, tmp_path):
    (tmp_path / "a file").touch()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "a file"))
    with claim_port(free_port(), "127.0.0.1"):
        pass


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="only Linux has all of 127.0.0.0/8 at once"
)
def test_a_port_is_free_where_it_is_listened_on():
    with socket.create_server(("127.0.0.2", 0)) as taken:
        port = taken.getsockname()[1]
        check_port(port, "127.0.0.1")
        with pytest.raises(LaunchError, match=f"port {port}: got not usable"):
            check_port(port, "0.0.0.0")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(LaunchError, match=f"port {port}: got not usable"):
            check_port(port, "127.0.0.2")
