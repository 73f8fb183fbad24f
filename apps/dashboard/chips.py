"""The strip's four chips in shape and words. `static/js/strip.js` says the same of later messages."""

from dataclasses import dataclass
from typing import Any

from apps.dashboard import formatting as f

Fields = dict[str, Any] | None
FEED_SHAPES = {"ready": "good", "starting": "late", "stale": "late", "down": "halt", "halted": "idle", "paused": "idle"}
DESK_SHAPES = {"trading": "good", "starting": "late", "reconciling": "late", "blocked": "halt", "killed": "halt"}


@dataclass(frozen=True)
class Chip:
    """One chip: `shape` is good, late, halt, idle or unknown."""

    key: str
    label: str
    url: str
    shape: str
    text: str


def feed_chip(health: list[Fields], clock: Fields) -> Chip:
    """Say how the feeds are: the worst one speaks."""
    known = [fields for fields in health if fields]
    if not known:
        return Chip("feed", "Feed", "/data/", "unknown", "no word yet")
    if clock and clock["ended"]:
        return Chip("feed", "Feed", "/data/", "idle", "replay ended")
    worst = max(known, key=lambda fields: (fields["state"] not in ("ready", "paused"), len(fields["stale"])))
    live, total = sum(fields["live"] for fields in known), sum(fields["total"] for fields in known)
    if worst["state"] not in ("ready", "paused"):  # a paced replay pauses at every minute: that is its way
        return Chip("feed", "Feed", "/data/", FEED_SHAPES.get(worst["state"], "late"), worst["state"])
    if worst["stale"]:
        return Chip("feed", "Feed", "/data/", "late", f"{live} of {total} live")
    return Chip("feed", "Feed", "/data/", "good", f"{live} live · {f.number(worst['lag_ms'], 0)} ms")


def desk_chip(health: Fields) -> Chip:
    """Say how the desk is, and how long a decision took to the wire."""
    if not health:
        return Chip("desk", "Desk", "/operations/", "unknown", "no word yet")
    wire = health["decision_to_wire_ms"]
    timing = f" · {f.number(wire, 1)} ms" if wire is not None and health["state"] == "trading" else ""
    shape = DESK_SHAPES.get(health["state"], "idle")
    return Chip("desk", "Desk", "/operations/", shape, f"{health['state']}{timing}")


def risk_chip(account: Fields, *, engaged: bool, unclear: bool, halted: bool) -> Chip:
    """Say how much of the nearest limit is used, or that nothing new may start."""
    if engaged or halted:
        return Chip("risk", "Risk", "/risk/", "halt", "stopped" if engaged else "halted")
    if unclear:
        return Chip("risk", "Risk", "/risk/", "halt", "no new risk")
    used = limit_used(account)
    if used is None:
        return Chip("risk", "Risk", "/risk/", "unknown", "no word yet")
    return Chip("risk", "Risk", "/risk/", "late" if used >= 0.75 else "good", f"{f.share(used)} used")


def jobs_chip(running: int) -> Chip:
    """Say how much long work goes on."""
    return Chip(
        "jobs", "Jobs", "/operations/", "good" if running else "idle", f"{running} running" if running else "none"
    )


def limit_used(account: Fields) -> float | None:
    """Return the largest share that is used of a limit of the whole account; None without figures or limits."""
    return max((share for share in limit_shares(account).values()), default=None)


def limit_shares(account: Fields) -> dict[str, float]:
    """Return how much of each limit of the account is used: 1.0 is at the limit."""
    if not account or not account["equity"]:
        return {}
    limits, equity, start = account["limits"], account["equity"], account["day_start_equity"]
    numbers = {
        "gross_exposure": account["gross"] / equity,
        "net_exposure": abs(account["net"]) / equity,
        "daily_loss": max(0.0, (start - equity) / start) if start else 0.0,
        "orders_per_minute": account["orders_minute"],
    }
    return {name: number / limits[name] for name, number in numbers.items() if limits.get(name)}
