"""The measures of the house: sizes of files and functions, names, documentation, imports,
repetition.

    python -m benchmarks.house                        this checkout
    python -m benchmarks.house --root FOLDER          another one, to compare
    python -m benchmarks.house --list                 with every place, not only the numbers

`tests/test_house.py` holds what must stay true; this prints it. Nothing here is timed, and nothing
of the pack runs: files are parsed. Cycles need grimp, repetition needs pylint (both in
requirements-test.txt).
"""

import argparse
import ast
import statistics
import subprocess
import sys
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from benchmarks.alike_lines import find_alike
from benchmarks.definitions import find_undocumented, is_participle

ROOT = Path(__file__).resolve().parents[1]
COLUMNS, LONGEST_FILE, REPEATED_LINES = 100, 350, 6
OWN = ("sama_core", "nodes", "benchmarks", "tests", "run.py", "__init__.py")
"""Where lines are ours: all Python in these."""
LOOSE = {"geometry", "text", "errors", "version", "released_files", "threads"}
"""Modules that may lie in `sama_core` itself, in no room."""
TWICE = {"__init__.py", "__main__.py", "config.py"}
"""File names that several rooms may have."""
TRIO = ("nodes", "sama_core/comfyui", "sama_core/launch/commands")
"""A command's three places: one file name may stand in one folder of `sama_core` beside these."""


@dataclass
class Function:
    """A function or method of a file."""

    place: str
    """file:line"""
    name: str
    """As defined, without its class."""
    lines: int
    """From `def` to the last line, docstring included."""


@dataclass
class House:
    """What is measured of one checkout; places are `file:line` from its root."""

    root: Path
    """The checkout's folder."""
    package: str = "sama_core"
    """The measured package: files, functions, names and documentation are counted there alone."""
    _trees: dict[Path, ast.Module] = field(default_factory=dict)

    @cached_property
    def files(self) -> dict[str, int]:
        """Lines of every file of the package."""
        return {
            self._short(path): len(path.read_text(encoding="utf-8").splitlines())
            for path in sorted((self.root / self.package).rglob("*.py"))
        }

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Bytes of every file of the checkout that git keeps.

        Raises subprocess.CalledProcessError where the root is no git checkout.
        """
        listed = ["git", "-C", str(self.root), "ls-files", "-z"]
        names = subprocess.run(listed, check=True, capture_output=True).stdout.decode().split("\0")
        paths = [self.root / name for name in names if name]
        return {self._short(path): path.stat().st_size for path in paths if path.is_file()}

    @cached_property
    def functions(self) -> list[Function]:
        """All functions of the package, inner ones and methods too."""
        return [
            Function(f"{file}:{node.lineno}", node.name, node.end_lineno - node.lineno + 1)
            for file in self.files
            for node in ast.walk(self._tree(file))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        ]

    def long_files(self) -> dict[str, int]:
        """Files over LONGEST_FILE lines."""
        return {file: lines for file, lines in self.files.items() if lines > LONGEST_FILE}

    def long_lines(self) -> list[str]:
        """Places of lines over COLUMNS columns in all of our own code."""
        return [
            f"{self._short(path)}:{number}"
            for part in OWN
            for path in _python_files(self.root / part)
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
            if len(line) > COLUMNS
        ]

    def names_twice(self) -> dict[str, list[str]]:
        """File names of the package that stand twice, but TWICE and the TRIO."""
        folders: dict[str, list[str]] = {}
        for file in self.files:
            folder, _, name = file.rpartition("/")
            if name not in TWICE and folder not in TRIO:
                folders.setdefault(name, []).append(folder)
        return {name: where for name, where in folders.items() if len(where) > 1}

    def loose_modules(self) -> list[str]:
        """Modules in no room, but LOOSE."""
        folder = self.root / self.package
        return sorted({path.stem for path in folder.glob("*.py")} - LOOSE - {"__init__"})

    def find_participles(self) -> list[str]:
        """Functions whose name is a participle, as `checked` or `_held_out`."""
        return [
            f"{function.place} {function.name}"
            for function in self.functions
            if is_participle(function.name)
        ]

    def find_undocumented(self) -> list[str]:
        """Public functions, classes, methods and dataclass fields without a docstring."""
        return [
            f"{file}:{line} {name}"
            for file in self.files
            for line, name in find_undocumented(self._tree(file).body)
        ]

    def cycles(self) -> list[list[str]]:
        """Groups of modules that import one another round in a circle, imports inside functions
        included.
        """
        import grimp

        sys.path.insert(0, str(self.root))
        try:
            graph = grimp.build_graph(
                self.package, exclude_type_checking_imports=True, cache_dir=None
            )
        finally:
            sys.path.remove(str(self.root))
        return _circles(
            {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
        )

    def repetition(self) -> list[str]:
        """Places outside tests where REPEATED_LINES lines are alike."""
        parts = [self.root / part for part in OWN if part != "tests"]
        files = [file for part in parts for file in _python_files(part)]
        return find_alike(self.root, files, REPEATED_LINES)

    def readme_lines(self) -> int:
        """Lines of README.md."""
        return len((self.root / "README.md").read_text(encoding="utf-8").splitlines())

    def _tree(self, file: str) -> ast.Module:
        path = self.root / file
        if path not in self._trees:
            self._trees[path] = ast.parse(path.read_text(encoding="utf-8"), str(path))
        return self._trees[path]

    def _short(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


def summarise(values: list[int]) -> tuple[float, int, int]:
    """Median, the value that 90 % do not exceed, and the largest."""
    ordered = sorted(values)
    return statistics.median(ordered), ordered[-(-9 * len(ordered) // 10) - 1], ordered[-1]


def _python_files(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(path.rglob("*.py"))


def _circles(imports: dict[str, set[str]]) -> list[list[str]]:
    """Groups of nodes of which each reaches each other one."""
    reached = {name: _reach(name, imports) for name in imports}
    groups = {
        tuple(sorted(other for other in reach if name in reached.get(other, ())))
        for name, reach in reached.items()
        if name in reach
    }
    return [list(group) for group in sorted(groups)]


def _reach(start: str, imports: dict[str, set[str]]) -> set[str]:
    """All that can be reached from `start` in one step or more."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        for name in imports.get(waiting.pop(), ()):
            if name not in found:
                found.add(name)
                waiting.append(name)
    return found


def table(house: House, listed: bool) -> str:
    """The measures, one a line; with `listed` every place below its number."""
    median, _, longest = summarise(list(house.files.values()))
    numbers = [
        f"files in {house.package}: {len(house.files)}, median {median:g} lines, longest {longest}",
        "functions: {} of them; median {:g}, 90 % within {}, longest {} lines".format(
            len(house.functions), *summarise([function.lines for function in house.functions])
        ),
        f"README: {house.readme_lines()} lines",
        f"checkout: {sum(house.sizes.values()) / 1e6:.2f} MB",
        f"largest file: {max(house.sizes.values()) / 1e6:.2f} MB",
    ]
    places = {
        f"files over {LONGEST_FILE} lines": [
            f"{file}: {n}" for file, n in house.long_files().items()
        ],
        f"lines over {COLUMNS} columns": house.long_lines(),
        "file names twice": [f"{name}: {', '.join(w)}" for name, w in house.names_twice().items()],
        "modules in no room": house.loose_modules(),
        "functions named by a participle": house.find_participles(),
        "public and undocumented": house.find_undocumented(),
        "import cycles": [" - ".join(circle) for circle in house.cycles()],
        f"places of {REPEATED_LINES} alike lines": house.repetition(),
    }
    for name, found in places.items():
        numbers += [f"{name}: {len(found)}", *(f"    {place}" for place in found if listed)]
    return "\n".join(numbers)


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout; this one")
    parser.add_argument("--list", action="store_true", help="print every place too")
    asked = parser.parse_args(arguments)
    print(table(House(asked.root.resolve()), asked.list))
    return 0


if __name__ == "__main__":
    sys.exit(main())
