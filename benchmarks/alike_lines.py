"""Where lines are alike: pylint's own search, on files that Python's parser has taken apart.

pylint parses each file into a tree of its own, which takes 25 times as long as the search. What it
leaves out of the comparison by that tree is blanked here: imports, and heads of functions.
"""

import ast
import contextlib
import io
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef


def find_alike(root: Path, files: Iterable[Path], lines: int) -> list[str]:
    """Places where so many lines are alike: "module:[first:last] other.module:[first:last]".

    Comments, docstrings, imports and heads of functions do not count. Raises ImportError without
    pylint.
    """
    from pylint.checkers.symilar import Symilar

    search = Symilar(min_lines=lines, ignore_comments=True, ignore_docstrings=True)
    for file in files:
        module = ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        text = file.read_text(encoding="utf-8")
        search.append_stream(module, io.StringIO(blank_heads(text)))
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        search.run()
    found = re.split(r"^\d+ similar lines in ", printed.getvalue(), flags=re.MULTILINE)[1:]
    return [" ".join(re.findall(r"^==(\S+)", place, re.MULTILINE)) for place in found]


def blank_heads(text: str) -> str:
    """A module's text with empty lines for its imports and the heads of its functions."""
    tree, blank = ast.parse(text), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            blank.update(range(node.lineno, node.end_lineno + 1))
    for function in _functions(tree):
        blank.update(range(function.lineno, function.body[0].lineno))
    lines = io.StringIO(text)  # ends them as the parser does, at no other characters
    return "".join("\n" if number in blank else line for number, line in enumerate(lines, 1))


def _functions(tree: ast.Module | ast.ClassDef | FUNCTIONS) -> Iterator[FUNCTIONS]:
    """Those that stand in a module, a class or another function, not inside of a statement."""
    for node in tree.body:
        if isinstance(node, FUNCTIONS):
            yield node
        if isinstance(node, FUNCTIONS | ast.ClassDef):
            yield from _functions(node)
