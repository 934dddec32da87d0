"""What ComfyUI needs on a machine without a card."""

import os
import socket
import subprocess
import sys

import pytest

from sama_core.launch.places import PACK_ROOT
from sama_core.launch.server import comfy_main
from sama_core.launch.server.comfy_main import cpu_only
from sama_core.launch.server.ports import free_port


@pytest.mark.parametrize(
    ("build", "card", "expected"),
    [
        ({"cuda": None, "hip": None, "xpu": None}, False, True),
        ({"cuda": "12.8", "hip": None, "xpu": None}, False, True),
        ({"cuda": "12.8", "hip": None, "xpu": None}, True, False),
        ({"cuda": None, "hip": "6", "xpu": None}, False, False),
    ],
)
def test_when_comfyui_is_told_to_use_the_cpu(monkeypatch, build, card, expected):
    monkeypatch.setattr("sama_core.launch.server.comfy_main.graphics_card_answers", lambda: card)
    monkeypatch.setattr(sys, "platform", "linux")
    assert cpu_only(build) is expected


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_the_server_ends_when_its_starter_is_killed(tmp_path):
    listener = socket.create_server(("127.0.0.1", 0))
    (tmp_path / "main.py").write_text(
        f"import socket, threading\nline = socket.create_connection(('127.0.0.1', "
        f"{listener.getsockname()[1]}))\n"
        "threading.Event().wait()\n"
    )
    starter = f"""
import sys, threading
from pathlib import Path
sys.path.insert(0, {str(PACK_ROOT)!r})
from sama_core.launch.setup.comfyui_source import ComfyUI
from sama_core.launch.server.process import Server
comfyui, log = ComfyUI(Path({str(tmp_path)!r}), False), Path({str(tmp_path / "log")!r})
with Server(Path(sys.executable), comfyui, [], log):
    threading.Event().wait()
"""
    process = subprocess.Popen([sys.executable, "-c", starter])
    listener.settimeout(300)
    line, _ = listener.accept()
    process.kill()
    process.wait()
    line.settimeout(120)
    assert line.recv(1) == b""


def test_garbage_is_collected_from_the_first_port_on_and_passes_over_what_was_imported(tmp_path):
    (tmp_path / "main.py").write_text(
        "import gc, socket\n"
        "seen = [gc.isenabled(), gc.get_freeze_count() > 1000]\n"
        "pair = socket.create_server(('127.0.0.1', 0))\n"
        "seen += [gc.isenabled(), gc.get_freeze_count() > 1000]\n"
        "server = socket.socket()\n"
        f"server.bind(('127.0.0.1', {free_port()}))\n"
        "print(*seen, gc.isenabled(), gc.get_freeze_count() > 1000)\n"
    )
    program = [sys.executable, comfy_main.__file__, str(tmp_path)]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False", "False", "False", "True", "True"]


def test_operators_are_declared_once_and_only_without_the_library(monkeypatch, tmp_path):
    monkeypatch.setattr(comfy_main, "_declared", ["done before"])
    assert comfy_main.declare_vision_operators(tmp_path) is False
    assert comfy_main._declared == ["done before"]


@pytest.mark.parametrize(
    ("output", "expected"),
    [("echo 'GPU 0: A card'", True), ("echo none", False), ("exit 9", False)],
)
def test_graphics_cards_are_asked_for_by_the_drivers_tool(tmp_path, monkeypatch, output, expected):
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{output}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin")
    assert comfy_main.graphics_card_answers() is expected
    tool.unlink()
    assert comfy_main.graphics_card_answers() is False
