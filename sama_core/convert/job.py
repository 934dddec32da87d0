"""One conversion from source to finished file, and the report about it."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..errors import CheckpointError, ConversionError, needed
from ..version import VERSION
from ..weights.checkpoint import read_config, transformer_settings
from .existing import look_at, refuse_foreign, refuse_namesake
from .formats import GGUF, Format, check_folder, format_named, partial_files
from .layouts import (
    BLANK,
    FACTS_KEY,
    NO_PROGRESS,
    Layout,
    blank_out,
    find_pack,
    read_head,
    safetensors_layout,
)
from .stream import read_key, write_resumable
from .weight_source import Source, open_source

QUANTISATION_KEY = "_quantization_metadata"
"""Where ComfyUI reads how each layer is quantised; a source's says nothing about the result."""
ARITHMETIC = 1
"""Raised when the same source and format begin to give other bytes. It is in the files' facts from
2 on. The version of the pack is there too, but only says who made the file: a file that another
version made or began is the same, as long as this number is."""


@dataclass(frozen=True)
class Report:
    """A conversion that is done."""

    target: Path
    """The converted file."""
    made: Format
    """The format it is in."""
    layout: Layout
    """What it holds."""
    source_size: int
    """Bytes of all source files."""
    sha256: str
    """Checksum in the file's header, 64 hexadecimal digits."""
    resumed: int = 0
    """Bytes that an interrupted run had written."""
    dropped: int = 0
    """Bytes of an interrupted run that could not be used: they are of another conversion."""
    existed: bool = False
    """Whether the whole file was there already, so that nothing was done."""
    note: str = ""
    """A warning about loaders that misread the file; empty where there is none."""

    def text(self) -> str:
        """The report, in lines."""
        size = self.layout.size
        kept = ", ".join(f"{count} {dtype}" for dtype, count in self.layout.kept.items())
        lines = [
            (
                f"{self.target.name}: {_gigabytes(self.source_size)} → {_gigabytes(size)} "
                f"({100 * size / self.source_size:.0f} %), {self.made.says}"
            ),
            (
                f"{self.layout.quantised} matrices converted; kept as {kept}: embeddings, norms, "
                "modulation, biases, "
                "projections, both heads"
            ),
        ]
        if self.existed:
            lines.append("The file was there already, made of the same source: nothing was done.")
        elif self.resumed:
            lines.append(f"{_gigabytes(self.resumed)} were written by an interrupted run.")
        elif self.dropped:
            lines.append(
                f"{_gigabytes(self.dropped)} that an interrupted run had written are of another "
                "source, format or version: they were not used."
            )
        if self.note:
            lines.append(self.note)
        return "\n".join([*lines, f"checksum {self.sha256}", str(self.target)])


def convert(
    path: str | Path,
    target: Path,
    format_name: str,
    base: str | Path | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] = NO_PROGRESS,
) -> Report:
    """Write the SAMA model in `path` (over `base` where it is a delta) to `target` in another
    format.

    An existing file is replaced only where `overwrite` is set and `convert` wrote it, see
    `existing`. `progress(done, total)`, in bytes, may raise to break off; the same call later goes
    on. Raises CheckpointError for the source, ConversionError for format, target and disk.
    """
    made = format_named(format_name)
    check_folder(target.parent)
    refuse_namesake(target)
    source = open_source(path, base)
    state, there = source.state(), look_at(target)
    layout = _layout(source, made)
    note = _head_note(source, made)
    _refuse_source(source, target)
    if there:
        earlier = _layout_of_maker(target, source, made, layout)
        sha256 = _find_made_before(target, earlier)
        if sha256 and not overwrite:
            return Report(target, made, earlier, source.size, sha256, existed=True, note=note)
        refuse_foreign(target, overwrite, sha256 is not None, progress)

    def refuse_changed() -> None:
        if source.state() != state:
            raise CheckpointError(
                needed(
                    source.files[-1].name,
                    "a file that changed while it was read",
                    "one that stays as it is",
                    "Start the conversion again.",
                )
            )

    layout = _layout_begun(target, source, made, layout, state)
    written = write_resumable(target, layout, _key(layout, state), progress, refuse_changed, there)
    return Report(
        target,
        made,
        layout,
        source.size,
        written.sha256,
        written.resumed,
        written.dropped,
        note=note,
    )


def _refuse_source(source: Source, target: Path) -> None:
    if any(target.exists() and file.samefile(target) for file in source.files):
        raise ConversionError(
            needed(
                str(target),
                "the source itself",
                "another name for the result",
                "Give one; the source is never written over.",
            )
        )


def _layout_begun(
    target: Path, source: Source, made: Format, ours: Layout, state: list[tuple[str, int, int]]
) -> Layout:
    """The layout to continue with: that of another version if it began this very conversion, else
    `ours`.
    """
    part, journal = partial_files(target)
    begun = _layout_of_maker(part, source, made, ours)
    return begun if read_key(journal) == _key(begun, state) else ours


def _key(layout: Layout, state: list[tuple[str, int, int]]) -> str:
    """Stands for all that the bytes of an unfinished file depend on."""
    return hashlib.sha256(layout.header + repr(state).encode()).hexdigest()


def _layout_of_maker(path: Path, source: Source, made: Format, ours: Layout) -> Layout:
    """What this conversion writes, with the version in it that made or began the file at `path`;
    `ours` where that is this one, or no version is named.
    """
    pack = None
    if path.is_file():
        with open(path, "rb") as file:
            pack = find_pack(read_head(file))
    return ours if pack in (None, VERSION) else _layout(source, made, pack)


def _layout(source: Source, made: Format, pack: str = VERSION) -> Layout:
    """What this conversion writes; `pack` is the version that it names as the file's maker."""
    if made.suffix == GGUF:
        from .ggml import gguf_layout, gguf_version, require_gguf

        require_gguf()
        return gguf_layout(source, made, _metadata(source, made, pack, gguf=gguf_version()))
    return safetensors_layout(source, made, _metadata(source, made, pack))


def _metadata(source: Source, made: Format, pack: str, **libraries: str) -> dict[str, str]:
    """The source's own metadata without its quantisation, the head count where ComfyUI looks for
    it, and the origin.
    """
    facts = {
        "format": made.name,
        "pack": pack,
        **({"arithmetic": ARITHMETIC} if ARITHMETIC > 1 else {}),
        **libraries,
        "fingerprint": source.fingerprint(),
        "sources": [[file.name, file.stat().st_size] for file in source.files],
    }
    own = {
        key: value
        for key, value in source.plan.metadata.items()
        if isinstance(value, str) and key != QUANTISATION_KEY
    }
    return {"format": "pt", **own, "config": _config(source), FACTS_KEY: json.dumps(facts)}


def _config(source: Source) -> str:
    """The source's `config` with the head count in it."""
    metadata = source.plan.metadata
    settings = transformer_settings(metadata)
    return json.dumps(
        {
            **read_config(metadata),
            "transformer": {**settings, "num_heads": source.plan.config.num_heads},
        }
    )


def _head_note(source: Source, made: Format) -> str:
    """What GGUF loaders that read no metadata get wrong about this model, if anything."""
    from ..model.config import WAN_HEAD_SIZE

    heads = source.plan.config.num_heads
    if made.suffix != GGUF or source.plan.config.head_dim == WAN_HEAD_SIZE:
        return ""
    return (
        f"This model has {heads} heads of {source.plan.config.head_dim}: GGUF loaders that do "
        "not read a file's "
        f"metadata take {WAN_HEAD_SIZE} and give noise."
    )


def _find_made_before(target: Path, layout: Layout) -> str | None:
    """The checksum of a whole file that this very conversion made earlier; None if the file is
    another one.
    """
    if not target.is_file() or target.stat().st_size != layout.size:
        return None
    with open(target, "rb") as file:
        header = file.read(len(layout.header))
    at = layout.checksum_at
    return header[at : at + len(BLANK)].decode() if blank_out(header) == layout.header else None


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
