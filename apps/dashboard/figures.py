"""The Desk page's six figures in words. `static/js/figures.js` says the same of later states."""

from typing import Any

from apps.dashboard import formatting as f


def figures(state: dict[str, Any] | None) -> dict[str, str]:
    """Return what stands in the figures of an account's state; dashes without one."""
    if not state:
        return dict.fromkeys(("equity", "unrealised", "realised", "exposure", "net", "loss", "orders"), f.NONE) | {
            "day": "waiting for the desk", "margin": f"margin {f.NONE}", "loss_limit": "no limit known",
            "orders_limit": "a minute",
        }  # fmt: skip
    limits, equity, start = state["limits"], state["equity"], state["day_start_equity"]
    change = equity / start - 1 if start else 0.0
    return {
        "equity": f.number(equity),
        "day": f"{f.arrow(round(change, 4))} {f.share(abs(change), 2)} today".strip(),
        "day_tone": f.tone(round(change, 4)),
        "unrealised": f.signed(state["unrealised"]),
        "unrealised_tone": f.tone(round(state["unrealised"], 2)),
        "realised": f.signed(state["realised_today"]),
        "exposure": f.share(state["gross"] / equity) if equity else f.NONE,
        "net": share_signed(state["net"] / equity) if equity else f.NONE,
        "margin": margin_words(state.get("margin"), equity),
        "loss": f.share(max(0.0, -change), 1),
        "loss_limit": f"of {_share(limits['daily_loss'])} allowed" if limits.get("daily_loss") else "no limit set",
        "orders": str(state["orders_minute"]),
        "orders_limit": f"a minute, of {f.plain(limits['orders_per_minute'])}"
        if limits.get("orders_per_minute")
        else "a minute",
    }


def margin_words(margin: float | None, equity: float) -> str:
    """Return what contracts bind as a share of equity; an account without contracts binds none."""
    if margin is None or equity <= 0:
        return "margin unknown"
    return f"margin {f.share(margin / equity, 1)} of equity" if margin else "no margin used"


def sparkline(points: list[tuple[Any, Any]]) -> dict[str, Any]:
    """Return the day's equity as the points of a polyline in a box of 100 by 12, and its values for the script."""
    values = [float(equity) for _, equity in points]
    if len(values) < 2:
        return {"points": "", "values": values}
    low, span = min(values), max(values) - min(values)
    step = 100 / (len(values) - 1)
    heights = [12 * (1 - (value - low) / span) if span else 6.0 for value in values]
    drawn = " ".join(f"{place * step:.2f},{height:.2f}" for place, height in enumerate(heights))
    return {"points": drawn, "values": values}


def share_signed(value: float) -> str:
    """Return a share with its sign: `+12 %`."""
    text = f.share(value)
    return f"+{text}" if round(value, 2) > 0 else text


def _share(value: float) -> str:
    return f.share(value, 0 if round(value * 100, 6).is_integer() else 1)
