"""The environment: `.venv` with torch, ComfyUI's requirements and the pack's own, in resumable
steps.

A ComfyUI that set-up did not fetch gets a layer over `.venv`: an environment that holds only the
packages of which this ComfyUI needs other versions, above all its frontend. Torch and the rest are
found in `.venv`.
"""

import importlib.util
import json
import shutil
import sys
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ...errors import needed
from ..places import Places
from ..progress import LaunchError, Stages, duration
from ..server.comfy_main import graphics_card_answers, torch_build
from .comfyui_source import ComfyUI, fetch_comfyui, find_comfyui
from .processes import Commands, pip_install
from .steps import Step, only_one, run_steps


class Environment:
    """Makes `.venv`, or a layer over it, and finds or fetches ComfyUI.

    No step is done twice while constraints.txt stays the same.
    """

    def __init__(self, places: Places, stages: Stages, commands: Commands | None = None):
        """`stages` shows progress, `commands` runs pip and venv (default: with the set-up log)."""
        self.places = places
        self.whole = replace(places, tree="")
        self.stages = stages
        self.title = ""
        self.commands = commands or Commands(places.log("setup"), self._tick)
        self.constraints = places.root / "constraints.txt"

    def ready(
        self, asked: str | None = None, tests: bool = False, training: bool = False
    ) -> ComfyUI:
        """Does the steps of set-up that are not done yet and returns the ComfyUI to run.

        `asked` is the folder that the user named; `tests` and `training` add what the test suite
        and training need. Raises LaunchError if a step fails.
        """
        here = find_comfyui(self.places, asked)
        lock = self.places.runtime / "setup.lock"
        with only_one(
            lock, lambda: self.stages.say("Another set-up is running; waiting for it to end.")
        ):
            if "torch" in self._run([self._venv_step(), *self._torch_steps()], self.whole, "base"):
                self._warn_if_card_is_unused()
            comfyui = here or find_comfyui(self.places, asked)
            if comfyui is None:
                self._report("fetching ComfyUI")
                comfyui = fetch_comfyui(self.places, self.places.python, self.commands)
            steps = [self._layer_step()] if self.places.tree else []
            steps += [self._comfyui_step(comfyui), self._pack_step()]
            self._run(steps + ([self._test_step()] if tests else []), self.places, "packages")
            if training:
                self._run([self._training_step()], self.places, "training")
        return comfyui

    def _run(self, steps: list[Step], places: Places, row: str) -> list[str]:
        return run_steps(steps, places.stamps / row, self._report)

    def _report(self, title: str) -> None:
        self.title = title
        self.stages.update(title)

    def _tick(self, seconds: float) -> None:
        self.stages.update(f"{self.title} · {duration(seconds)}", transient=True)

    def _warn_if_card_is_unused(self) -> None:
        builds = [torch_build(folder) for folder in site_packages(self.whole.venv)]
        if builds and not any(any(build.values()) for build in builds) and graphics_card_answers():
            self.stages.say(
                "There is an NVIDIA card, but the torch from pip cannot use it, so everything runs "
                "on the CPU. Install a CUDA build of the same torch version into .venv, as torch's "
                "own install page says for your system."
            )

    def _pins(self) -> str:
        return self.constraints.read_text(encoding="utf-8")

    def _venv_step(self) -> Step:
        places = self.whole

        def refuse_a_link() -> None:
            if places.venv.is_symlink() and places.stamps.is_dir():
                raise LaunchError(
                    needed(
                        f"{places.venv}",
                        "a link to another installation's environment",
                        "a folder of its own",
                        "Delete the link, and run the same command again.",
                    )
                )

        def make() -> None:
            if importlib.util.find_spec("ensurepip") is None:
                raise LaunchError(
                    "Python: has no ensurepip, needs it to make an environment. Install it "
                    "(Debian, Ubuntu: apt-get install python3-venv) and run the same command again."
                )
            again = ["--clear"] if places.stamps.is_dir() else []
            self.commands.run([sys.executable, "-m", "venv", *again, places.venv], "making .venv")

        if not places.python.exists():
            shutil.rmtree(places.stamps, ignore_errors=True)
        version = ".".join(map(str, sys.version_info[:2]))
        return Step("venv", "making .venv", f"{version} {places.venv}", make, refuse_a_link)

    def _layer_step(self) -> Step:
        title = "making an environment for this ComfyUI"

        def make() -> None:
            # pip is taken from `.venv` too.
            self.commands.run(
                [sys.executable, "-m", "venv", "--clear", "--without-pip", self.places.venv], title
            )
            lay_over(self.places.venv, self.whole.venv)

        if not self.places.python.exists():
            shutil.rmtree(self.places.stamps, ignore_errors=True)
        return Step("layer", title, str(self.places.venv), make)

    def _torch_steps(self) -> list[Step]:
        return [
            self._pip_step(
                "torch", ["torch"], "installing torch (the largest part)", into=self.whole
            ),
            self._pip_step(
                "torchvision", ["torchvision"], "installing torchvision", into=self.whole
            ),
            self._pip_step(
                "torchaudio",
                ["--no-deps", "torchaudio"],
                "installing torchaudio",
                into=self.whole,
                then=lambda: strip_cuda_audio(self.whole.venv),
            ),
        ]

    def _comfyui_step(self, comfyui: ComfyUI) -> Step:
        wanted = self.places.runtime / "comfyui_requirements.txt"
        text = comfyui.requirements()

        def first() -> None:
            wanted.write_text(text, encoding="utf-8")

        return self._pip_step(
            "comfyui",
            ["-r", wanted],
            "installing ComfyUI's requirements",
            key=text,
            pinned=comfyui.fetched,
            before=first,
        )

    def _pack_step(self) -> Step:
        project = tomllib.loads((self.places.root / "pyproject.toml").read_text(encoding="utf-8"))
        wanted = project.get("project", {}).get("dependencies", [])
        return self._pip_step("pack", wanted, "installing the pack's requirements")

    def _test_step(self) -> Step:
        return self._file_step("test", "installing the test requirements")

    def _training_step(self) -> Step:
        return self._file_step("train", "installing what training needs")

    def _file_step(self, name: str, title: str) -> Step:
        """Installs what the pack's own requirements-NAME.txt lists."""
        wanted = self.places.root / f"requirements-{name}.txt"
        return self._pip_step(name, ["-r", wanted], title, key=wanted.read_text(encoding="utf-8"))

    def _pip_step(
        self,
        name: str,
        wanted: list,
        title: str,
        key: str = "",
        pinned: bool = True,
        before: Callable[[], None] = lambda: None,
        then: Callable[[], None] = lambda: None,
        into: Places | None = None,
    ) -> Step:
        python = (into or self.places).python
        arguments = [*wanted, "-c", self.constraints] if pinned else wanted

        def install() -> None:
            before()
            if wanted:
                self.commands.run(pip_install(python, arguments), title)
            then()

        whole_key = json.dumps([[str(a) for a in arguments], key, self._pins() if pinned else ""])
        return Step(name, title, whole_key, install)


def lay_over(layer: Path, venv: Path) -> None:
    """Makes the packages of `venv` importable in the environment `layer`, after its own ones."""
    for below, above in zip(_package_folders(venv), _package_folders(layer), strict=True):
        (above / "sama_layer.pth").write_text(f"{below}\n", encoding="utf-8")


def _package_folders(venv: Path) -> list[Path]:
    return [*venv.glob("lib/python3*/site-packages"), *venv.glob("Lib/site-packages")]


def site_packages(venv: Path) -> list[Path]:
    """Package folders of an environment in which torch is installed."""
    return [
        folder for folder in _package_folders(venv) if (folder / "torch" / "version.py").is_file()
    ]


def strip_cuda_audio(venv: Path) -> None:
    """On Linux with CPU-only torch, deletes torchaudio's C++ extensions.

    They link CUDA, so that importing them fails. The rest of torchaudio works without them.
    """
    if not sys.platform.startswith("linux"):
        return
    for folder in site_packages(venv):
        if not any(torch_build(folder).values()):
            for library in (folder / "torchaudio" / "lib").glob("*.so"):
                library.unlink()
