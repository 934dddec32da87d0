"""Python that notes which files of a pack it opens: `python watched.py PACK NOTES [-m MODULE | -c
CODE | FILE] …`.

With `run.py` as FILE, pip and all other commands of set-up are left out; the environment's Python
is then this program.
"""

import os
import runpy
import sys
from pathlib import Path

PACK, NOTES = sys.argv[1:3]


def watch() -> None:
    inside = os.path.realpath(PACK) + os.sep
    notes = open(NOTES, "a", buffering=1, encoding="utf-8")  # noqa: SIM115  until this process ends

    def hook(event: str, arguments: tuple) -> None:
        if event == "open" and isinstance(arguments[0], str):
            path = os.path.realpath(arguments[0])  # the server knows the pack by a link
            if path.startswith(inside):
                notes.write(path[len(inside) :] + "\n")

    sys.addaudithook(hook)


def no_commands() -> None:
    """Set-up runs nothing; making an environment gives it an interpreter."""
    sys.path.insert(0, PACK)
    from sama_core.launch.setup.processes import Commands

    def run(self, argv, what, cwd=None) -> None:
        if what in ("making .venv", "making an environment for this ComfyUI"):
            python = Path(argv[-1]) / "bin" / "python"
            python.parent.mkdir(parents=True)
            python.write_text(
                f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" "{PACK}" "{NOTES}" "$@"\n'
            )
            python.chmod(0o755)

    Commands.run = run


def main(kind: str, *rest: str) -> None:
    watch()
    if kind in ("-m", "-c"):
        sys.path[0] = os.getcwd()
        sys.argv = list(rest)
        if kind == "-c":
            exec(rest[0], {"__name__": "__main__"})
        else:
            runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        return
    if os.path.basename(kind) == "run.py":
        no_commands()
    sys.path[0] = os.path.dirname(os.path.abspath(kind))
    sys.argv = [kind, *rest]
    runpy.run_path(kind, run_name="__main__")


if __name__ == "__main__":
    main(*sys.argv[3:])
