"""One row of the table of speeds, and the table."""

from typing import Any

COLUMNS = ("name", "value", "unit", "limit_or_peer", "limit_value", "ratio", "goal", "met")


def row(
    name: str, value: float, unit: str, limit_or_peer: str, limit_value: float | None, at_most: bool = True
) -> dict[str, Any]:
    """Return a row. `at_most`: the value should not exceed the limit; otherwise it should reach it.

    Without a limit (a figure that is only shown) the row counts as met.
    """
    if limit_value is None:
        return dict(zip(COLUMNS, (name, value, unit, limit_or_peer, None, None, "shown", True), strict=True))
    ratio = value / limit_value if limit_value else float("inf")
    met = value <= limit_value if at_most else value >= limit_value
    goal = "at most 1.00" if at_most else "at least 1.00"
    return dict(zip(COLUMNS, (name, value, unit, limit_or_peer, limit_value, ratio, goal, met), strict=True))


def table(rows: list[dict[str, Any]]) -> str:
    """Return the rows as text, the ratio last but for the verdict."""
    cells = [("", "what", "value", "limit or peer", "goal", "ratio")]
    for entry in rows:
        limit = "" if entry["limit_value"] is None else f" {_number(entry['limit_value'])}"
        ratio = "" if entry["ratio"] is None else f"{entry['ratio']:.2f}"
        mark = "✓" if entry["met"] else "✗"
        value = f"{_number(entry['value'])} {entry['unit']}"
        cells.append((mark, entry["name"], value, f"{entry['limit_or_peer']}{limit}", entry["goal"], ratio))
    widths = [max(len(line[column]) for line in cells) for column in range(6)]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in cells
    )


def percentile(values: list[float], share: float) -> float:
    """Return the value below which `share` (0 to 1) of the values lie: the nearest rank, never interpolated."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -(-int(share * 1_000_000) * len(ordered) // 1_000_000) - 1))]


def _number(value: float) -> str:
    if value == 0:
        return "0"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
