"""The contact sheet: some clips of every edit as source, instruction, output and truth."""

import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from benchmarks.report import cannot_write
from sama_core.shapes.gate.clip_scores import ClipScores, to_bytes
from sama_core.shapes.gate.core_editor import Edited
from sama_core.shapes.world import EditBatch

SCALE, GAP, CAPTION, MARGIN = 2, 6, 18, 10
_RIGHT, _WRONG, _INK, _PAPER = (20, 120, 40), (190, 30, 30), (30, 30, 30), (255, 255, 255)


class ContactSheet:
    """Collects the first `rows` clips of every edit; give `add` to `evaluate` as its `watch`.

    One row shows first, middle and last frame of the source, then of the output, then of the truth.
    """

    def __init__(self, rows: int = 3):
        self.rows, self.strips = rows, []
        self._seen: dict[str, int] = {}

    def add(self, batch: EditBatch, edited: Edited, scores: list[ClipScores]) -> None:
        """Keep what is still wanted of one batch."""
        for row, kind in enumerate(batch.kinds):
            number = self._seen.get(kind, 0)
            if number >= self.rows:
                continue
            self._seen[kind] = number + 1
            clips = (to_bytes(batch.source[row]), edited.frames[row], to_bytes(batch.target[row]))
            self.strips.append(_strip(clips, f"{kind}: {batch.instructions[row]}", scores[row]))

    def write(self, path: Path) -> None:
        """Write the PNG, whole or not at all. Raises RuntimeSetupError where it cannot."""
        width = max(strip.width for strip in self.strips)
        sheet = Image.new("RGB", (width, sum(strip.height for strip in self.strips)), _PAPER)
        top = 0
        for strip in self.strips:
            sheet.paste(strip, (0, top))
            top += strip.height
        partial = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            sheet.save(partial, format="PNG")
            os.replace(partial, path)
        except OSError as error:
            raise cannot_write(path, error) from error
        finally:
            partial.unlink(missing_ok=True)


def _strip(clips: tuple[Tensor, ...], caption: str, scores: ClipScores) -> Image.Image:
    """One row of the sheet, its caption above: three frames of each clip (F, H, W, 3) uint8."""
    count, height, width = clips[0].shape[:3]
    height, width, shown = height * SCALE, width * SCALE, (0, count // 2, count - 1)
    group = len(shown) * (width + 1) + GAP
    strip = Image.new("RGB", (2 * MARGIN + len(clips) * group, CAPTION + height + MARGIN), _PAPER)
    draw, font = ImageDraw.Draw(strip), ImageFont.load_default(size=12)
    verdict = f"{'right' if scores.right else 'WRONG'}, {scores.output['whole']:.1f} dB"
    draw.text((MARGIN, 2), f"source · {caption}", _INK, font)
    draw.text((MARGIN + group, 2), f"output ({verdict})", _RIGHT if scores.right else _WRONG, font)
    draw.text((MARGIN + 2 * group, 2), "truth", _INK, font)
    for column, clip in enumerate(clips):
        for place, frame in enumerate(shown):
            picture = Image.fromarray(np.ascontiguousarray(clip[frame].numpy())).resize(
                (width, height), Image.NEAREST
            )
            strip.paste(picture, (MARGIN + column * group + place * (width + 1), CAPTION))
    return strip
