"""Rules for what a file defines: the names of functions, and what must have a docstring."""

import ast
from collections.abc import Iterator

_IRREGULAR = set(
    "built chosen cut done drawn driven fed felt found fit given gone grown heard held hidden kept "
    "known laid left lent lost made meant met paid put read said seen sent set shown slept sold "
    "spent spoilt spoken spread stood struck sunk taken taught thought told torn understood woken "
    "won worn written".split()
)
PARTICIPLES_ALLOWED = set(
    "cut embed exceed feed fit need needed proceed put read seed set speed".split()
)
"""Verbs and nouns of that form; and `needed`, which writes the sentence that says what is
needed.
"""
_AFTER = set("anew as at before behind by for from in of on out over to under with".split())
"""A participle and one of these is a participle still; before a noun it is an adjective, and the
name a noun.
"""


def is_participle(name: str) -> bool:
    """Whether a function's name is a participle, as `checked` or `_held_out`; `masked_frames` is a
    noun.
    """
    first, *others = name.strip("_").split("_")
    participle = first in _IRREGULAR or first.endswith("ed")
    return participle and first not in PARTICIPLES_ALLOWED and _AFTER.issuperset(others)


def find_undocumented(body: list[ast.stmt], owner: str = "") -> Iterator[tuple[int, str]]:
    """(line, name) of every public function, class, method and dataclass field without a docstring.

    `body` is a module's, or that of the class whose name and a dot are the `owner`.
    """
    for node in body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        if node.name.startswith("_") or _is_overload_or_setter(node):
            continue
        if not ast.get_docstring(node):
            yield node.lineno, owner + node.name
        if isinstance(node, ast.ClassDef):
            yield from find_undocumented(node.body, f"{owner}{node.name}.")
            if _is_dataclass(node):
                yield from _undocumented_fields(node, owner)


def _undocumented_fields(node: ast.ClassDef, owner: str) -> Iterator[tuple[int, str]]:
    """Public fields with no string under them."""
    for statement, after in zip(node.body, [*node.body[1:], None], strict=True):
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        words = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
        if not words and not statement.target.id.startswith("_"):
            yield statement.lineno, f"{owner}{node.name}.{statement.target.id}"


def _is_dataclass(node: ast.ClassDef) -> bool:
    named = [ast.unparse(part) for part in (*node.decorator_list, *node.bases)]
    return any("dataclass" in name or name.endswith("NamedTuple") for name in named)


def _is_overload_or_setter(node: ast.stmt) -> bool:
    named = [ast.unparse(part) for part in node.decorator_list]
    return any(name.endswith((".setter", "overload")) for name in named)
