"""The report as a page of its own: no script, nothing from elsewhere, pictures in a folder."""

import os
from html import escape
from typing import Any
from urllib.parse import quote

STYLE = """
:root { color-scheme: light dark; font: 14px/1.4 system-ui, sans-serif; }
body { margin: 2rem auto; max-width: 90rem; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { border-bottom: 1px solid #8885; padding: .4rem .6rem; text-align: left;
  vertical-align: top; }
td { overflow-wrap: anywhere; white-space: pre-line; }
td.clip { min-width: 12rem; }
td.pictures { white-space: nowrap; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
img { max-width: 15rem; height: auto; }
tr.failed { background: #e0303022; }
tr.not { opacity: .6; }
"""
HEAD = (
    *("row", "clip", "before, after", "instruction", "seed", "seconds", "changed", "kept, dB"),
    *("flicker", "motion", "result"),
)
MEANINGS = (
    "changed: part of the picture that differs from the source. kept: PSNR of the rest in dB, 60 "
    "is equal. flicker: grey levels of 255 that the edit adds from frame to frame. motion: 1 moves "
    "as the source. Measured on the first 49 frames, 480 pixels wide."
)


def page(lines: list[dict[str, Any]], summary: str, remarks: list[str]) -> str:
    """The whole page. `lines` have the columns of the table, and `pictures`: two paths or none."""
    notes = "".join(f"<p>{escape(text)}</p>\n" for text in remarks)
    head = "".join(f"<th>{escape(name)}</th>" for name in HEAD)
    rows = "\n".join(_row(line) for line in lines)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>SAMA batch: {escape(summary)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<h1>SAMA batch</h1>\n<p>{escape(summary)}</p>\n{notes}<table>\n"
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>\n"
        f"<p>{escape(MEANINGS)}</p>\n</body>\n</html>\n"
    )


def _row(line: dict[str, Any]) -> str:
    before_after = "".join(
        f'<img src="{_link(path)}" alt="{name}" loading="lazy"> '
        for name, path in zip(("before", "after"), line["pictures"], strict=False)
    )
    cells = [
        _number(line["row"]),
        _text(line["clip"], "clip"),
        f'<td class="pictures">{before_after}</td>',
        _text(line["instruction"]),
        _number(line["seed"]),
        _number(line["seconds"], 1),
        _number(line["changed"], 3),
        _number(line["kept_db"], 1),
        _number(line["flicker"], 2),
        _number(line["motion_follow"], 3),
        _result(line),
    ]
    return f'<tr class="{escape(line["state"])}">{"".join(cells)}</tr>'


def _link(path: str) -> str:
    """A relative path as an address."""
    return escape(quote(os.fsencode(path)))


def _text(text: str, kind: str = "text") -> str:
    return f'<td class="{kind}">{escape(str(text))}</td>'


def _number(value: Any, digits: int = 0) -> str:
    shown = f"{value:.{digits}f}" if isinstance(value, float) else str(value)
    return f'<td class="number">{escape(shown)}</td>'


def _result(line: dict[str, Any]) -> str:
    if line["result"]:
        name = escape(str(line["result"]))
        return f'<td><a href="{_link(line["result"])}">{name}</a></td>'
    return _text(line["error"] or line["state"])
