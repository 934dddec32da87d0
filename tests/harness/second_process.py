"""Another process that works in a folder, or removes it, as another ComfyUI does."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PACK_ROOT = Path(__file__).parents[2]
WORKS = "use = use_folder(folder); (folder / 'theirs').touch(); print('ready'); sys.stdin.read()"
REMOVES = "print(remove_unused(folder))"


def start(what: str, folder: Path) -> subprocess.Popen:
    """Begins to do `what` with `folder`, in Python."""
    program = (
        "import sys\nfrom pathlib import Path\n"
        f"sys.path.insert(0, {str(PACK_ROOT)!r})\n"
        "from sama_core.folders.shared_folder import remove_unused, use_folder\n"
        f"folder = Path({str(folder)!r})\nprint('begins')\n{what}\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    assert process.stdout and process.stdout.readline() == "begins\n"
    return process


def answer(process: subprocess.Popen) -> str:
    """The rest of what it says, to its end."""
    assert process.stdout
    return process.stdout.read().strip()


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Another process works in `folder` meanwhile; it makes a file there, `theirs`."""
    with start(WORKS, folder) as process:
        assert process.stdout and process.stdout.readline() == "ready\n"
        yield
        process.stdin.close()


def removes(folder: Path) -> bool:
    """Whether another process could remove `folder`."""
    with start(REMOVES, folder) as process:
        return answer(process) == "True"
