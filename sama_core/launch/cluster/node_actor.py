"""What Ray runs on a node: finds the pack there, and starts ComfyUI by it.

This file is sent to the node as it is, and so imports nothing of the pack at first: a node without
the pack, or with another version of it, has to be able to say so. Answers are dictionaries of plain
values; `error` in one is a sentence for the user.
"""

import importlib
import os
import sys
import threading
import tomllib
from pathlib import Path
from typing import Any


class NodeActor:
    """One ComfyUI on a node. Safe to be called from several threads."""

    def __init__(self, asked: dict[str, Any]):
        """`asked`: `pack` (its folder on the nodes), `version`, and what `NodeServer` takes."""
        self.asked = asked
        self._node: Any = None
        self._lock = threading.Lock()

    def tell(self) -> dict[str, Any]:
        """Where this is: address of the node, id of the process."""
        return {"ip": self._ip(), "pid": os.getpid()}

    def connect(self) -> dict[str, Any]:
        """`url` of the ComfyUI, which runs then; `error` where that can never be."""
        with self._lock:
            if self._node is None:
                missing = self._why_no_pack()
                if missing:
                    return {"error": missing}
                self._node = self._make()
        return self._node.connect()

    def take_clip(self, path: str, size: int, changed: float) -> str | None:
        """Name of a clip in the ComfyUI's input folder, if this node sees it under its path."""
        return self._node.take_clip(path, size, changed) if self._node else None

    def remove_files(self, uploaded: str | None, outputs: list[dict[str, str]]) -> None:
        """Removes what one edit left in the ComfyUI's folders."""
        if self._node:
            self._node.remove_files(uploaded, outputs)

    def stop(self) -> None:
        """Ends the ComfyUI; a start that is under way is given up."""
        if self._node:
            self._node.stop()

    def _make(self) -> Any:
        sys.path.insert(0, self.asked["pack"])
        server = importlib.import_module("sama_core.launch.cluster.node_server")
        return server.NodeServer(self.asked, self._ip())

    def _ip(self) -> str:
        import ray

        return ray.util.get_node_ip_address()

    def _why_no_pack(self) -> str | None:
        pack, wanted = Path(self.asked["pack"]), self.asked["version"]
        fix = "Install it there, or name its folder on the nodes with --ray-pack."
        if not (pack / "sama_core" / "launch" / "cluster").is_dir():
            got = f"no pack in {pack}"
            return f"node {self._ip()}: {got}, needs ComfyUI-SAMA {wanted} there. {fix}"
        try:
            facts = tomllib.loads((pack / "pyproject.toml").read_text(encoding="utf-8"))
            version = facts["project"]["version"]
        except (OSError, ValueError, LookupError):
            version = "an unknown version"
        if version == wanted:
            return None
        got = f"the pack in version {version} in {pack}"
        return f"node {self._ip()}: {got}, needs {wanted}, as here. Update the older of the two."
