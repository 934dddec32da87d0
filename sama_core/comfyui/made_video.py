"""A VIDEO whose file is written when a node first uses it."""

from collections.abc import Callable
from pathlib import Path

from comfy_api.latest import Input, InputImpl


def _pass_on(name: str) -> Callable:
    def call(self, *arguments, **keywords):
        return getattr(self.file(), name)(*arguments, **keywords)

    call.__name__ = name
    return call


def _file(self) -> Input.Video:
    if self._path is None or not self._path.is_file():
        self._path = self._make()
    return InputImpl.VideoFromFile(str(self._path))


def _init(self, make: Callable[[], Path]) -> None:
    self._make, self._path = make, None


MadeVideo = type(
    "MadeVideo",
    (Input.Video,),
    {
        name: _pass_on(name)
        for name, value in vars(InputImpl.VideoFromFile).items()
        if callable(value) and not name.startswith("_")
    }
    | {"__init__": _init, "file": _file, "__module__": __name__},
)
"""`MadeVideo(make)`: what ComfyUI's `VideoFromFile` is of the file whose path `make()` returns.

Every method that this ComfyUI's own class has is passed on; `file()` is the video itself. The file
is made once, and again if it was removed since.
"""
