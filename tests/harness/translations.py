"""The pack's texts in other languages, in the form that ComfyUI reads.

    python -m tests.harness.translations

Run from the repository root after a change of `locales/LANGUAGE/texts.json`, a title or a tooltip.
It writes `nodeDefs.json` and `main.json` beside every `texts.json`, and prints what has no
translation and what is left over.

    titles      node titles
    names       inputs and outputs by id, or by "NodeId.inputs.id" where one node means another one
    categories  the parts of the nodes' categories that ComfyUI does not translate itself
    canvas      texts of `web`'s scripts that are given to `translate` or `translatable`
    texts       descriptions and tooltips; the English text is the key, so that a translation ends
                with its original
"""

import json
import re
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .imports import REPO_ROOT

LOCALES = REPO_ROOT / "locales"
TEXTS, NODES, MAIN = "texts.json", "nodeDefs.json", "main.json"
_JOINED = re.compile(r'"\s*\+\s*"')
_TRANSLATED = re.compile(r'\btransl(?:ate|atable)\(\s*"([^"]+)"')
KNOWN_CATEGORIES = ("video", "latent")
"""Parts of our categories that ComfyUI's own translations have."""


def languages() -> list[str]:
    """The folders with translations."""
    return sorted(path.parent.name for path in LOCALES.glob(f"*/{TEXTS}"))


def read(language: str, name: str) -> dict[str, Any]:
    """A file of a language."""
    return json.loads((LOCALES / language / name).read_text(encoding="utf-8"))


class Translator:
    """Looks texts up in the table of a language, and notes what is missing and what was used."""

    def __init__(self, table: dict[str, dict[str, str]]):
        self.table = table
        self.missing: list[str] = []
        self.used: set[tuple[str, str]] = set()

    def find(self, kind: str, *keys: str) -> str:
        """The translation under the first known key; a missing one is noted and stays English."""
        key = next((key for key in keys if key in self.table[kind]), None)
        if key is None:
            self.missing.append(f"{kind}: {keys[-1]}")
            return keys[-1]
        self.used.add((kind, key))
        return self.table[kind][key]

    def left_over(self) -> list[str]:
        """Entries of the table that nothing asked for."""
        entries = {(kind, key) for kind, group in self.table.items() for key in group}
        return sorted(f"{kind}: {key}" for kind, key in entries - self.used)


def canvas_texts() -> list[str]:
    """The texts of the page's scripts that are translated there, each once."""
    found = set()
    for path in (REPO_ROOT / "web").rglob("*.js"):
        script = _JOINED.sub("", path.read_text(encoding="utf-8"))
        found.update(_TRANSLATED.findall(script))
    return sorted(found)


def translate(schemas: Iterable[Any], to: Translator) -> tuple[dict[str, Any], dict[str, Any]]:
    """What `nodeDefs.json` and `main.json` hold for these schemas."""
    nodes, parts = {}, dict[str, str]()
    for schema in sorted(schemas, key=lambda schema: schema.node_id):
        nodes[schema.node_id] = _translate_node(schema, to)
        for part in schema.category.split("/"):
            if part not in KNOWN_CATEGORIES:
                parts[part] = to.find("categories", part)
    words = {text: to.find("canvas", text) for text in canvas_texts()}
    return nodes, {"nodeCategories": parts, "samaCanvas": words}


def _translate_node(schema: Any, to: Translator) -> dict[str, Any]:
    def name(side: str, key: str) -> str:
        return to.find("names", f"{schema.node_id}.{side}.{key}", key)

    inputs, outputs = {}, {}
    for one in schema.inputs:
        inputs[one.id] = {"name": name("inputs", one.id), "tooltip": to.find("texts", one.tooltip)}
    for number, one in enumerate(schema.outputs):
        outputs[str(number)] = {"tooltip": to.find("texts", one.tooltip)}
        if one.display_name:  # others are called by their type
            outputs[str(number)]["name"] = name("outputs", one.display_name)
    return {
        "display_name": to.find("titles", schema.display_name),
        "description": to.find("texts", schema.description),
        "inputs": inputs,
        "outputs": outputs,
    }


def write_all(schemas: list[Any]) -> int:
    """Write the files of every language; returns how many texts are missing or left over."""
    wrong = 0
    for language in languages():
        to = Translator(read(language, TEXTS))
        for name, content in zip((NODES, MAIN), translate(schemas, to), strict=True):
            text = json.dumps(content, ensure_ascii=False, indent=1, sort_keys=True)
            (LOCALES / language / name).write_text(f"{text}\n", encoding="utf-8")
        for line in (*(f"missing: {text}" for text in to.missing), *to.left_over()):
            print(f"{language}: {line}")
            wrong += 1
    return wrong


def main() -> None:
    """The command."""
    from .executor import ComfyHarness
    from .registry import load_pack, start_registry

    with tempfile.TemporaryDirectory() as folder:
        start_registry(Path(folder))
        comfyui = ComfyHarness(Path(folder), load_pack())
        schemas = [comfyui.node_class(name).define_schema() for name in comfyui.pack.node_ids]
    sys.exit(1 if write_all(schemas) else 0)


if __name__ == "__main__":
    main()
