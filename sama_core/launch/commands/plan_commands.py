"""The choices of `run.py plan --minutes`, as settings of nodes and as commands to copy."""

import shlex
import subprocess
import sys
from pathlib import Path

from ...plan.in_minutes import TimedPlan, TimedSettings
from ...plan.minutes_text import NAMES, list_settings_by_node, settings_of
from ...released_files import SAMA_14B, STEP_LORA
from ...weights.names import WEIGHT_DTYPES


def list_commands(plan: TimedPlan, video: Path | None) -> list[str]:
    """For each choice what to set in which node, and the command where `edit` can do it."""
    lines = []
    for name, way in plan.choices.items():
        lines.append(f"To copy, {NAMES[name].lower()}:")
        lines += [f"  {line}" for line in list_settings_by_node(way, plan)]
        command = edit_command(way, plan, video)
        lines += [f"  {command}"] if command else []
    return lines


def edit_command(way: TimedSettings, plan: TimedPlan, video: Path | None) -> str:
    """The `run.py edit` with these settings; empty where it has no such settings.

    It cuts long clips into segments of SAMA's own length, and writes no other file of weights.
    """
    given = settings_of(way, plan)
    if given["segment_frames"] != SAMA_14B.frames or given["file"]:
        return ""
    clip = way.settings.request.clip
    words = ["python3", "run.py", "edit", "--video", str(video or "CLIP.mp4")]
    words += ["--instruction", "WHAT TO CHANGE"]
    words += ["--frames", str(given["frames"]), "--area", f"{clip.width}x{clip.height}"]
    words += ["--steps", str(given["steps"]), "--cfg", f"{given['cfg']:g}"]
    words += ["--lora", STEP_LORA.filename] if given["lora"] else []
    if given["weight_dtype"] != WEIGHT_DTYPES[0]:
        words += ["--weight-dtype", str(given["weight_dtype"])]
    return _join(words)


def _join(words: list[str]) -> str:
    """A command to copy: the shells of Windows take double quotes, those of others single ones."""
    return subprocess.list2cmdline(words) if sys.platform == "win32" else shlex.join(words)
