"""Running a worker that takes hostile files, each in a child of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
Ended = tuple[subprocess.CompletedProcess, list[dict]]


def run_worker(module: str, folder: Path, empty: Path, **variables: str) -> Ended:
    """Run `tests.harness.hostile.<module>` on `folder`, in `empty` → the process and its lines."""
    done = subprocess.run(
        [sys.executable, "-m", f"tests.harness.hostile.{module}", str(folder)],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
        cwd=empty,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **variables},
    )
    return done, [json.loads(line) for line in done.stdout.splitlines()]
