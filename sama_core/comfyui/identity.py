"""The key under which a finished segment is kept: of everything that decides it, or none.

    this pack, ComfyUI, flags, libraries, device     launch_identity.py
    model and VAE with all that hangs on them        model_identity.py
    text conditioning, sampler, settings             in full
    frames, noise, mask                              in full, by the caller

Contents count, not names: a renamed file is the same, a replaced one is not. What cannot be described exactly is not
kept (`why_not` says what it is). State that changes as a run works gives another key: then a segment is computed once
more, never taken wrongly. Segments kept by versions up to 0.1.0 have other keys: they are not found, and make room.
"""

import contextlib
import logging
from typing import Any

import comfy.samplers

from ..identity import Description, Indescribable
from .as_found import as_found
from .launch_identity import add_launch
from .model_identity import ModelParts, ejected

COVERED = {"comfy", __name__.split(".sama_core")[0].split(".")[0]}
"""Packages whose files are in the key as a whole."""

log = logging.getLogger(__name__)


class RunIdentity:
    """What a run depends on. `why_not` is None, or says in words what cannot be described: then there are no keys."""

    def __init__(self, model, vae, prompts: Any, settings: Any, sampler_name: str = "euler"):
        self._parts, self.why_not = ModelParts(), None
        self._run = {"model": model, "VAE's model": vae.patcher, "VAE": vae, "conditioning": prompts,
                     "settings": settings, "sampler": comfy.samplers.sampler_object(sampler_name)}
        self._model = model
        self.key()

    def key(self, *parts: Any) -> str | None:
        """40 hexadecimal digits, of the run as it is now and of `parts`; None where it cannot be described."""
        if self.why_not is not None:
            return None
        try:
            return self._describe().add(list(parts), "the segment").key
        except Exception as error:  # whatever other packs' objects do when they are looked at, the edit goes on
            self.why_not = str(error) if isinstance(error, Indescribable) else f"{type(error).__name__}: {error}"
            log.warning("SAMA: finished segments are not kept: %s.", self.why_not)
            return None

    def as_found(self):
        """A context around one sampling, after which the run is what it was before, as far as that is safe."""
        if self.why_not is not None:
            return contextlib.nullcontext()
        try:
            with ejected(self._model):
                return as_found(self._model, Description(self._parts, _is_covered).add(self._model).state)
        except Indescribable as error:
            log.warning("SAMA: what this run changes on its model is not put back: %s.", error)
            return contextlib.nullcontext()

    def _describe(self) -> Description:
        whole = add_launch(Description(self._parts, _is_covered))
        with ejected(self._model):
            for name, value in self._run.items():
                whole.add(value, f"the {name}")
        return whole


def _is_covered(module: str | None) -> bool:
    return (module or "").split(".")[0] in COVERED
