"""Python's syntax, as far as the contract with ComfyUI reads it.

Calls, parameters, dotted names, keys.
"""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Call:
    """How something is called: its arguments, and whether `*` or `**` hides more of them."""

    positional: int
    """How many arguments by position."""
    keywords: tuple[str, ...]
    """Names of the others."""
    more: bool = False
    """Whether `*` or `**` hides more."""


def parse(file: Path) -> ast.Module:
    """The file's syntax, read anew only if its text has changed."""
    return _parse(file.read_text(encoding="utf-8"))


@cache
def _parse(text: str) -> ast.Module:
    return ast.parse(text)


@cache
def calls(tree: ast.AST, called: str) -> list[Call]:
    """How `called` is called: as it is written, or behind any dot if it begins with one."""
    found = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    return [
        call_of(node)
        for node in found
        for name in [ast.unparse(node.func)]
        if name == called or (called.startswith(".") and name.endswith(called))
    ]


def function(file: Path, name: str) -> ast.arguments:
    """Parameters of a function, or as `Class.method` of what a class or function holds.

    Raises LookupError.
    """
    scope: ast.AST = parse(file)
    for part in name.split("."):
        scope = next((node for node in scope.body if getattr(node, "name", None) == part), None)
        if scope is None:
            raise LookupError(f"{file.name} has no {name}")
    return scope.args


def words(files: Iterable[Path], dictionaries: set[str]) -> set[str]:
    """Keys by which these files read dictionaries of these names.

    `d["key"]`, `d.get("key")`, `"key" in d`.
    """
    return {word for file in files for word in _words_in(parse(file), dictionaries)}


def _words_in(tree: ast.AST, dictionaries: set[str]) -> Iterator[str]:
    for node in ast.walk(tree):
        key = owner = None
        if isinstance(node, ast.Subscript):
            key, owner = node.slice, node.value
        elif isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In | ast.NotIn):
            key, owner = node.left, node.comparators[0]
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.args
            and (node.func.attr in ("get", "pop", "setdefault"))
        ):
            key, owner = node.args[0], node.func.value
        named = {root_of(owner), getattr(owner, "attr", "")} & dictionaries if owner else ()
        if named and isinstance(key, ast.Constant) and isinstance(key.value, str):
            yield key.value


def call_of(node: ast.Call | None) -> Call | None:
    """The call that a node of the syntax makes."""
    if node is None:
        return None
    starred = any(isinstance(argument, ast.Starred) for argument in node.args)
    names = tuple(keyword.arg for keyword in node.keywords if keyword.arg)
    return Call(0 if starred else len(node.args), names, starred or len(names) < len(node.keywords))


def find_dotted(node: ast.expr) -> str | None:
    """`a.b.c` of names and attributes; None for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        owner = find_dotted(node.value)
        return None if owner is None else f"{owner}.{node.attr}"
    return None


def root_of(node: ast.expr) -> str:
    """The name that an expression of attributes, calls and indices begins with."""
    while isinstance(node, ast.Attribute | ast.Call | ast.Subscript):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def shorten(node: ast.expr) -> str:
    """An expression as written, with `()` for the arguments of a call and `[]` for an index."""
    if isinstance(node, ast.Call):
        return f"{find_dotted(node.func) or shorten(node.func)}()"
    if isinstance(node, ast.Subscript):
        return f"{find_dotted(node.value) or shorten(node.value)}[]"
    if isinstance(node, ast.Attribute):
        return f"{shorten(node.value)}.{node.attr}"
    return type(node).__name__
