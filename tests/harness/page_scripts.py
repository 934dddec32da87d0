"""Runs the pack's scripts for the page in playwright's own Node: for what needs no canvas."""

import json
import shutil
import subprocess
from pathlib import Path

from .imports import REPO_ROOT

PAGE = Path(__file__).with_name("bare_page.mjs")
SCRIPTS = {name: f'export {{ {name} }} from "../bare_page.mjs";\n' for name in ("app", "api")}
SECONDS = 300


def run_script(folder: Path, code: str) -> object:
    """What `code` leaves in `told`, as JSON, with all of `bare_page.mjs` at hand.

    It is the body of an asynchronous function, and takes the pack's scripts by `load("nodes/…")`.
    Their time is that of `pass(milliseconds)`: it stands still in between.
    Raises AssertionError with what Node says where it fails.
    """
    pack = folder / "extensions" / "pack"
    shutil.copytree(REPO_ROOT / "web", pack, ignore=shutil.ignore_patterns("docs", "*.css"))
    shutil.copy(PAGE, folder)
    (folder / "scripts").mkdir()
    for name, text in SCRIPTS.items():
        (folder / "scripts" / f"{name}.js").write_text(text, encoding="utf-8")
    (folder / "package.json").write_text('{"type": "module"}', encoding="utf-8")
    main = folder / "main.mjs"
    main.write_text(_WHOLE.replace("CODE", code), encoding="utf-8")
    command = [_node(), str(main)]
    told = {"capture_output": True, "text": True, "encoding": "utf-8"}
    done = subprocess.run(command, check=False, timeout=SECONDS, **told)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


_WHOLE = """
import { Graph, api, app, extensions, makeNode, open, pass, rules } from "./bare_page.mjs";
async function load(name) {
    const known = extensions.length;
    const loaded = await import(`./extensions/pack/${name}`);
    for (const { setup } of extensions.slice(known)) setup?.();
    return loaded;
}
let told;
CODE
console.log(JSON.stringify(told));
"""


def _node() -> str:
    """The Node that comes with playwright."""
    from playwright._impl._driver import compute_driver_executable

    node, _ = compute_driver_executable()
    return str(node)
