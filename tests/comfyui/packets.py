"""What a video file holds, packet by packet."""

from pathlib import Path

import av


def packets(path: Path) -> list[tuple]:
    """Kind, time and length in seconds, and bytes of every packet, sorted."""
    with av.open(str(path)) as container:
        return sorted(
            (
                packet.stream.type,
                packet.pts * packet.time_base,
                packet.duration * packet.time_base,
                bytes(packet),
            )
            for packet in container.demux()
            if packet.size
        )
