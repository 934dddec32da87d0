"""Errors that speak to the artist: what was got, what is needed, what to set.

Each class is for one kind of cause, from a wrong size to a conversion that cannot be done.
"""


class SamaError(ValueError):
    """Base of every error this pack raises on purpose."""


class GeometryError(SamaError):
    """A frame count, size or latent shape that the model cannot take."""


class CheckpointError(SamaError):
    """A weight file that is not what the loader was asked for."""


class ClipError(SamaError):
    """A video that cannot be read, fitted or restored."""


class ConditioningError(SamaError):
    """An instruction or source that does not fit the model or the latent."""


class SamplingError(SamaError):
    """A run whose values are no numbers any more, or that is given such values."""


class RegionError(SamaError):
    """A mask that does not fit its clip, or two clips that are not source and edit of each
    other.
    """


class InputError(SamaError):
    """A value that an input of a node cannot take."""


class RuntimeSetupError(SamaError):
    """ComfyUI or a model file is missing, or something is plugged into the wrong socket."""


LONGEST = 2000
"""Characters of a foreign text that an error repeats."""


def needed(what: str, got: object, need: str, fix: str) -> str:
    """One sentence for the artist: `what` was `got`, `need` is required, `fix` says what to set."""
    return f"{shorten(what)}: got {shorten(got)}, needs {need}. {fix}"


def shorten(text: object) -> str:
    """A foreign text for one line: control characters become �, and only the first LONGEST
    characters are kept.
    """
    text = str(text)
    text = text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
    return (
        text
        if text.isprintable()
        else "".join(sign if sign.isprintable() else "�" for sign in text)
    )


class ConversionError(SamaError):
    """A format, a target or a disk that a conversion cannot use; sources raise CheckpointError."""
