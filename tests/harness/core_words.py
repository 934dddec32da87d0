"""Words that ComfyUI's sources must hold.

Keys of its dictionaries, options, routes, and the nodes of our workflows.
"""

import ast
import json
import re
from collections.abc import Iterable
from pathlib import Path

from .core_contract import DICTIONARIES, OWN_WORDS, WORDS
from .core_syntax import parse, words
from .imports import REPO_ROOT

SERVERS = [
    REPO_ROOT / "sama_core" / "launch" / "server" / "process.py",
    REPO_ROOT / "tests" / "harness" / "server.py",
]
CLIENT = REPO_ROOT / "sama_core" / "launch" / "server" / "client.py"
WORKFLOWS = REPO_ROOT / "workflows" / "api"


def check_words(found, core: Path, ours: list[Path]) -> None:
    """Add to a `contract.Contract` what the tree `core` lacks, and keys in `ours` in no table."""
    known = {**WORDS, ("comfy/cli_args.py",): sorted(_constants(SERVERS, r"--[a-z][a-z-]+"))}
    for places, wanted in known.items():
        text = _text(core / place for place in places)
        found.missing += [
            f"the word {word!r} in {' or '.join(places)}"
            for word in wanted
            if not _quotes(text, word)
        ]
    routes = sorted(route.rstrip("?/") for route in _constants([CLIENT], r"/[a-z][a-z_/]*\??"))
    server = _text([core / "server.py"])
    found.missing += [
        f"the route {route} in server.py"
        for route in routes
        if not re.search(rf"[\"']{re.escape(route)}[\"'/{{]", server)
    ]
    nodes, sources = (
        _nodes_in_workflows(),
        _text([core / "nodes.py", *(core / "comfy_extras").glob("*.py")]),
    )
    found.missing += [
        f"the node {node}, of a workflow" for node in nodes if not _quotes(sources, node)
    ]
    told = {word for group in WORDS.values() for word in group} | OWN_WORDS
    found.unexplained += [f"the key {word!r}" for word in sorted(words(ours, DICTIONARIES) - told)]
    found.counts |= {
        "keys, options and routes": sum(map(len, known.values())) + len(routes),
        "nodes in workflows": len(nodes),
    }


def _nodes_in_workflows() -> list[str]:
    graphs = (json.loads(file.read_text(encoding="utf-8")) for file in WORKFLOWS.glob("*.json"))
    return sorted(
        {
            node["class_type"]
            for graph in graphs
            for node in graph.values()
            if not node["class_type"].startswith("SAMA")
        }
    )


def _text(files: Iterable[Path]) -> str:
    return "".join(file.read_text(encoding="utf-8") for file in files if file.is_file())


def _quotes(text: str, word: str) -> bool:
    return f'"{word}"' in text or f"'{word}'" in text


def _constants(files: list[Path], pattern: str) -> set[str]:
    values = {
        node.value
        for file in files
        for node in ast.walk(parse(file))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    return {value for value in values if re.fullmatch(pattern, value)}
