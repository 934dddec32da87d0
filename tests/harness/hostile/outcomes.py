"""What came of hostile files in this test run, kind by kind, for the end of pytest's report."""

from collections import Counter

OUTCOMES = ("right", "error", "failure", "crash")
_seen: dict[str, dict[str, dict[str, int]]] = {}


def record(what: str, cases: list[dict]) -> None:
    """Count a worker's lines under `what`: the files' family."""
    counts = Counter((case["kind"], case["outcome"]) for case in cases)
    _seen[what] = {
        kind: {outcome: counts[kind, outcome] for outcome in OUTCOMES}
        for kind in dict.fromkeys(case["kind"] for case in cases)
    }


def list_seen() -> dict:
    """All that was recorded in this process."""
    return _seen


def add(others: dict) -> None:
    """Take what another process of the same run recorded."""
    _seen.update(others)


def table() -> list[str]:
    """One line for each kind of file, and the sum; none if nothing was tried."""
    if not _seen:
        return []
    rows = [counts for kinds in _seen.values() for counts in kinds.values()]
    lines = [_line("kind", {outcome: outcome for outcome in OUTCOMES})]
    for what, kinds in _seen.items():
        lines += [_line(f"{what}: {kind}", counts) for kind, counts in kinds.items()]
    total = {outcome: sum(row[outcome] for row in rows) for outcome in OUTCOMES}
    return [*lines, _line(f"{sum(total.values())} files", total)]


def _line(name: str, cells: dict) -> str:
    return f"{name:44}" + "".join(f"{cells[outcome]:>9}" for outcome in OUTCOMES)
