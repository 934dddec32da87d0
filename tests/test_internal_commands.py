"""Modules that run as programs explain themselves, and do nothing else then."""

import runpy
import sys

import pytest

from .harness.imports import REPO_ROOT

SERVANTS = {"sama_core.clip.samples"}
"""Programs without options of their own: they are spoken to over pipes."""
COMMANDS = sorted(
    ".".join(path.relative_to(REPO_ROOT).with_suffix("").parts).removesuffix(".__main__")
    for path in (REPO_ROOT / "sama_core").rglob("*.py")
    if '\nif __name__ == "__main__":' in path.read_text(encoding="utf-8")
)


def test_commands_are_found():
    assert {"sama_core.plan.calibrate", "sama_core.training", "sama_core.shapes"} <= set(COMMANDS)
    assert set(COMMANDS) >= SERVANTS


@pytest.mark.parametrize("module", sorted(set(COMMANDS) - SERVANTS))
@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
def test_help_is_printed_and_nothing_is_written(module, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [module, "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(module, run_name="__main__")
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("usage: ")
    assert list(tmp_path.iterdir()) == []
