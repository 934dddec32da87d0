"""Makes `sama_core` importable without the root on `sys.path`, and one with the pack's copy."""

import ast
import importlib
import importlib.abc
import importlib.util
import sys
from pathlib import Path

REPO_ROOT = Path(__file__).resolve().parents[2]
LIBRARY = "sama_core"
PACKAGES = (LIBRARY, "benchmarks")


class LibraryFinder(importlib.abc.MetaPathFinder):
    """Finds the top-level packages in `root`; their submodules follow from the package's path."""

    def __init__(self, root: Path):
        self.root = root

    def find_spec(self, fullname, path=None, target=None):
        folder = self.root / fullname
        if fullname not in PACKAGES or not (folder / "__init__.py").is_file():
            return None
        return importlib.util.spec_from_file_location(
            fullname, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )


class AliasFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Answers `<pack>.sama_core` and all below it with the modules of `sama_core` themselves."""

    def __init__(self, pack_name: str):
        self.pack_name = pack_name
        self.prefix = f"{pack_name}.{LIBRARY}"

    def find_spec(self, fullname, path=None, target=None):
        if fullname == self.prefix or fullname.startswith(self.prefix + "."):
            return importlib.util.spec_from_loader(fullname, self)
        return None

    def create_module(self, spec):
        module = importlib.import_module(spec.name[len(self.pack_name) + 1 :])
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module):
        # The import system has put the alias's spec on the module: give it its own back.
        module.__spec__ = module.__spec__.loader_state


def install(root: Path = REPO_ROOT) -> None:
    """Make `import sama_core` work from `root`, and take `root` itself off `sys.path`."""
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != root]
    if not any(isinstance(finder, LibraryFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, LibraryFinder(root))


def alias(pack_name: str) -> None:
    """Make `<pack_name>.sama_core` the same modules as `sama_core`.

    Call before the pack is loaded.
    """
    if not any(
        isinstance(finder, AliasFinder) and finder.pack_name == pack_name
        for finder in sys.meta_path
    ):
        sys.meta_path.insert(0, AliasFinder(pack_name))


def absolute_self_imports(root: Path = REPO_ROOT) -> list[str]:
    """`file:line` of every `import sama_core` in the pack's code: ComfyUI could not resolve it."""
    files = [root / "__init__.py", *(root / "nodes").rglob("*.py"), *(root / LIBRARY).rglob("*.py")]
    return [
        f"{file.relative_to(root)}:{line}"
        for file in files
        if file.is_file()
        for line in _offending_lines(file)
    ]


def _offending_lines(file: Path) -> list[int]:
    lines = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"), str(file))):
        if isinstance(node, ast.Import):
            names = [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module]
        else:
            continue
        if any(name.split(".")[0] == LIBRARY for name in names):
            lines.append(node.lineno)
    return lines
