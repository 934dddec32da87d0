"""What our code uses of ComfyUI, read off its syntax.

Symbols, attributes of objects, and how each is called.
"""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from .core_syntax import Call, call_of, find_dotted, parse, root_of, shorten

CORE_MODULES = (
    "comfy",
    "comfy_api",
    "comfy_execution",
    "execution",
    "folder_paths",
    "latent_preview",
    "node_helpers",
    "nodes",
    "server",
    "utils",
)

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Use:
    """One place where our code names something that may be ComfyUI's."""

    owner: str
    """What stands before the name, as written: `guider.model_patcher`; of a symbol of a module its
    whole path."""
    name: str
    """The name itself."""
    where: str
    """`file:line`."""
    symbol: bool
    """Whether `owner` leads to a module of ComfyUI by imports alone."""
    optional: bool = False
    """Whether the code asks first: hasattr, or getattr with a default."""
    call: Call | None = None
    """How it is called; None if it is not."""

    @property
    def path(self) -> str:
        """Owner and name, with a dot between them."""
        return f"{self.owner}.{self.name}" if self.owner else self.name


@dataclass(frozen=True)
class Override:
    """A class of ours over one of ComfyUI's."""

    name: str
    """Our class."""
    base: str
    """Path of ComfyUI's class."""
    where: str
    """`file:line`."""
    methods: dict[str, ast.arguments]
    """Our methods and their parameters."""
    names: frozenset[str]
    """Methods, class attributes and properties it defines."""


@dataclass
class _Module:
    """One file: the names its imports bind to ComfyUI's, and those they bind to others'."""

    file: str
    core: dict[str, str] = field(default_factory=dict)
    others: set[str] = field(default_factory=set)
    """Names of modules that are neither ComfyUI's nor objects, and what is imported of them."""
    foreign: set[str] = field(default_factory=set)
    """Those of `others` that come from Python or another package: what their calls return is not
    ComfyUI's either."""


def uses(files: Iterable[Path], root: Path) -> list[Use]:
    """Every use in these files, in their order."""
    return [use for file in files for use in _uses_in(parse(file), str(file.relative_to(root)))]


def overrides(files: Iterable[Path], root: Path) -> list[Override]:
    """Every class in these files, nested ones too, whose base is a symbol of ComfyUI."""
    return [
        found for file in files for found in _overrides_in(parse(file), str(file.relative_to(root)))
    ]


def own_names(files: Iterable[Path]) -> set[str]:
    """What our own classes and modules define.

    Methods, fields, functions, attributes set on `self` and `cls`.
    """
    return set().union(*(_names_in(parse(file)) for file in files))


@cache
def _names_in(tree: ast.AST) -> frozenset[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.AnnAssign | ast.Assign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                names |= _find_assigned(target)
    return frozenset(names)


def _find_assigned(target: ast.expr) -> set[str]:
    if isinstance(target, ast.Tuple):
        return set().union(*map(_find_assigned, target.elts))
    if isinstance(target, ast.Name):
        return {target.id}
    ours = isinstance(target, ast.Attribute) and ast.unparse(target.value) in ("self", "cls")
    return {target.attr} if ours else set()


def _core_bases(node: ast.AST, module: _Module) -> list[str]:
    if not isinstance(node, ast.ClassDef):
        return []
    paths = [
        path
        for path in map(find_dotted, node.bases)
        if path and path.partition(".")[0] in module.core
    ]
    return [_resolve(path, module) for path in paths]


@cache
def _uses_in(tree: ast.Module, name: str) -> tuple[Use, ...]:
    return tuple(_read(tree, name))


@cache
def _overrides_in(tree: ast.Module, name: str) -> tuple[Override, ...]:
    module, found = _Module(name), []
    list(_imports(tree, module))
    for node in ast.walk(tree):
        for base in _core_bases(node, module):
            methods = {part.name: part.args for part in node.body if isinstance(part, FUNCTIONS)}
            found.append(
                Override(
                    node.name, base, f"{name}:{node.lineno}", methods, _names_in(node) - {node.name}
                )
            )
    return tuple(found)


def _read(tree: ast.Module, name: str) -> Iterator[Use]:
    module = _Module(name)
    yield from _imports(tree, module)
    for node in ast.walk(tree):
        for base in _core_bases(node, module):
            yield from _above(node, base, module)
    asked = {
        ast.unparse(node.args[0]) + "." + node.args[1].value
        for node in ast.walk(tree)
        if _is_question(node) and isinstance(node.args[1], ast.Constant)
    }
    called = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            optional = ast.unparse(node) in asked
            yield from _use(node.value, node.attr, node, module, optional, called.get(id(node)))
        elif isinstance(node, ast.Name) and node.id in module.core and id(node) in called:
            yield from _symbol(module.core[node.id], node, module, call=called[id(node)])
        elif _is_question(node) and isinstance(node.args[1], ast.Constant):
            yield from _use(node.args[0], node.args[1].value, node, module, True)


def _above(node: ast.ClassDef, base: str, module: _Module) -> Iterator[Use]:
    """What a class calls of its base through `super()`."""
    for call in ast.walk(node):
        if (
            isinstance(call, ast.Call)
            and isinstance(call.func, ast.Attribute)
            and (ast.unparse(call.func.value) == "super()")
        ):
            with_self = call_of(call)
            yield Use(
                base,
                call.func.attr,
                f"{module.file}:{call.lineno}",
                True,
                call=Call(with_self.positional + 1, with_self.keywords, with_self.more),
            )


def _imports(tree: ast.Module, module: _Module) -> Iterator[Use]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from _whole_modules(node, module)
        elif isinstance(node, ast.ImportFrom):
            yield from _names_of_modules(node, module)
    for node in ast.walk(tree):
        # `management = comfy.model_management`
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            path = find_dotted(node.value)
            first, dot, _ = (path or "").partition(".")
            if first in module.core:
                module.core[node.targets[0].id] = _resolve(path, module)
            elif first in module.foreign and dot:
                module.others.add(node.targets[0].id)


def _whole_modules(node: ast.Import, module: _Module) -> Iterator[Use]:
    """`import comfy.sd`: what it names of ComfyUI; what it binds is noted in `module`."""
    for name in node.names:
        bound = name.asname or name.name.partition(".")[0]
        if name.name.partition(".")[0] in CORE_MODULES:
            module.core[bound] = name.name if name.asname else bound
            yield Use("", name.name, f"{module.file}:{node.lineno}", symbol=True)
        else:
            module.others.add(bound)
            module.foreign.add(bound)


def _names_of_modules(node: ast.ImportFrom, module: _Module) -> Iterator[Use]:
    """`from comfy import sd`, likewise."""
    core = node.level == 0 and node.module.partition(".")[0] in CORE_MODULES
    for name in node.names:
        bound = name.asname or name.name
        if core:
            module.core[bound] = f"{node.module}.{name.name}"
            yield Use(node.module, name.name, f"{module.file}:{node.lineno}", symbol=True)
        else:
            module.others.add(bound)
            if node.level == 0:
                module.foreign.add(bound)


def _use(
    owner: ast.expr,
    name: str,
    node: ast.AST,
    module: _Module,
    optional: bool,
    call: ast.Call | None = None,
) -> Iterator[Use]:
    path = find_dotted(owner)
    first = (path or "").partition(".")[0]
    if path and first in module.core:
        yield from _symbol(f"{_resolve(path, module)}.{name}", node, module, optional, call)
    elif first not in module.others and root_of(owner) not in module.foreign:
        written = path or shorten(owner)
        yield Use(written, name, f"{module.file}:{node.lineno}", False, optional, call_of(call))


def _symbol(
    path: str, node: ast.AST, module: _Module, optional: bool = False, call: ast.Call | None = None
) -> Iterator[Use]:
    owner, _, name = path.rpartition(".")
    yield Use(owner, name, f"{module.file}:{node.lineno}", True, optional, call_of(call))


def _resolve(path: str, module: _Module) -> str:
    first, dot, rest = path.partition(".")
    return module.core[first] + dot + rest


def _is_question(node: ast.AST) -> bool:
    """`hasattr(x, "name")` or `getattr(x, "name", default)`."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        return False
    return (node.func.id, len(node.args)) in {("hasattr", 2), ("getattr", 3)}
