"""mp4 and mov files that ask players to turn their pictures.

Old PyAVs cannot write such, so their bytes are set.
"""

import struct
from pathlib import Path

ONE, MATRIX_IN_TKHD = 1 << 16, 44
COUNTERCLOCKWISE = {90: (0, -1, 1, 0), 180: (-1, 0, 0, -1), 270: (0, 1, -1, 0)}


def turn(path: Path, matrix: tuple[int, int, int, int]) -> None:
    """Writes the matrix (a, b, c, d) into the header of the file's first track."""
    data = bytearray(path.read_bytes())
    a, b, c, d = (ONE * number for number in matrix)
    place = data.index(b"tkhd") + MATRIX_IN_TKHD
    data[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


def rotate(path: Path, degrees: int) -> None:
    """Asks for quarter turns counterclockwise."""
    turn(path, COUNTERCLOCKWISE[degrees % 360])
