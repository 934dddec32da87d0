"""Editing the atoms of a small mov or mp4 whose index lies behind its data, as PyAV writes them."""

import struct

CONTAINERS = {b"moov", b"trak", b"mdia", b"minf", b"stbl"}
# Bytes of a sound description (version 0, version 1) before its own atoms.
_SOUND_DESCRIPTION = {0: 36, 1: 52}


def set_channel_order(mov: bytes, labels: list[int]) -> bytes:
    """The file with a `chan` atom: CoreAudio's labels (1 L, 2 R, 3 C …) of its PCM channels."""
    described = b"".join(struct.pack(">II3f", label, 0, 0, 0, 0) for label in labels)
    chan = _atom(b"chan", struct.pack(">IIII", 0, 0, 0, len(labels)) + described)
    moov = mov.rindex(b"moov") - 4

    def edit(kind: bytes, body: bytes) -> bytes:
        return (
            _with_order(body, chan)
            if kind == b"stsd" and b"vide" not in body and _is_sound(body)
            else body
        )

    return mov[:moov] + _rewritten(mov[moov:], edit)


def set_matrix(mov: bytes, matrix: tuple[int, ...]) -> bytes:
    """The file with the whole numbers `matrix` (a b u c d v x y w) as its display matrix."""
    a, b, u, c, d, v, x, y, w = matrix
    packed = struct.pack(">9i", a << 16, b << 16, u, c << 16, d << 16, v, x << 16, y << 16, w << 30)
    moov, done = mov.rindex(b"moov") - 4, []

    def edit(kind: bytes, body: bytes) -> bytes:
        if kind != b"tkhd" or done:
            return body
        done.append(True)
        return body[:40] + packed + body[76:]

    return mov[:moov] + _rewritten(mov[moov:], edit)


def _rewritten(atoms: bytes, edit) -> bytes:
    """Every atom's body as `edit(kind, body)` returns it, with the sizes around it corrected."""
    out, at = b"", 0
    while at + 8 <= len(atoms):
        size, kind = struct.unpack(">I4s", atoms[at : at + 8])
        body = atoms[at + 8 : at + size]
        out += _atom(kind, _rewritten(body, edit) if kind in CONTAINERS else edit(kind, body))
        at += size
    return out + atoms[at:]


def _is_sound(stsd: bytes) -> bool:
    return stsd[12:16] in (
        b"sowt",
        b"twos",
        b"lpcm",
        b"in24",
        b"in32",
        b"fl32",
        b"fl64",
        b"ipcm",
        b"raw ",
    )


def _with_order(stsd: bytes, chan: bytes) -> bytes:
    """The sample description with this `chan` in place of its own."""
    (size,) = struct.unpack(">I", stsd[8:12])
    entry, rest = stsd[8 : 8 + size], stsd[8 + size :]
    (version,) = struct.unpack(">H", entry[16:18])
    begin = _SOUND_DESCRIPTION.get(version, len(entry))
    extensions = _rewritten_without(entry[begin:], b"chan")
    entry = entry[:begin] + extensions + chan
    return stsd[:8] + struct.pack(">I", len(entry)) + entry[4:] + rest


def _rewritten_without(atoms: bytes, unwanted: bytes) -> bytes:
    out, at = b"", 0
    while at + 8 <= len(atoms):
        size, kind = struct.unpack(">I4s", atoms[at : at + 8])
        out += b"" if kind == unwanted else atoms[at : at + size]
        at += size
    return out


def _atom(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(body), kind) + body
