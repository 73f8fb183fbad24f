"""The Desk page's six figures in words. `static/js/figures.js` says the same of later states."""

from typing import Any

from apps.dashboard import formatting as f


def figures(state: dict[str, Any] | None) -> dict[str, str]:
    """Return what stands in the figures of an account's state; dashes without one."""
    if not state:
        return dict.fromkeys(("equity", "unrealised", "realised", "exposure", "net", "loss", "orders"), f.NONE) | {
            "day": "waiting for the desk", "loss_limit": "no limit known", "orders_limit": "a minute",
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
        "loss": f.share(max(0.0, -change), 1),
        "loss_limit": f"of {_share(limits['daily_loss'])} allowed" if limits.get("daily_loss") else "no limit set",
        "orders": str(state["orders_minute"]),
        "orders_limit": f"a minute, of {f.plain(limits['orders_per_minute'])}"
        if limits.get("orders_per_minute")
        else "a minute",
    }


def share_signed(value: float) -> str:
    """Return a share with its sign: `+12 %`."""
    text = f.share(value)
    return f"+{text}" if round(value, 2) > 0 else text


def _share(value: float) -> str:
    return f.share(value, 0 if round(value * 100, 6).is_integer() else 1)
