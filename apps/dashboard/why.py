"""Why, or why not: what a decision saw, what it wanted, and each check in order with the first that said no."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from apps.dashboard import formatting as f
from apps.dashboard.rows import owner_words
from apps.execution.models import Order
from apps.risk.models import Refusal
from apps.strategies.models import Decision

OK, REFUSED, NOT_ASKED = "ok", "refused", "not_asked"
SHARES = ("gross_exposure", "net_exposure", "price_collar", "daily_loss")
FEATURES_SHOWN = 8


@dataclass(frozen=True)
class Check:
    """One line: `verdict` is ok, refused or not_asked; `part` says who was asked."""

    verdict: str
    text: str
    part: str


def why_decision(decision: Decision) -> dict[str, Any]:
    """Return the context of the "why" panel for a decision."""
    signal = getattr(decision, "signal", None)
    refusal = Refusal.objects.filter(decision_id=decision.pk).first()
    orders = list(Order.objects.filter(decision_id=decision.pk).order_by("created_at"))
    state = signal.state if signal else decision.outcome
    return {
        "title": "Why not?" if refusal or state in ("blocked", "late", "expired") else "Why?",
        "symbol": decision.instrument.symbol,
        "market_at": decision.market_at,
        "state": state,
        "tag": "loss" if refusal else "info" if signal else "",
        "checks": [*_decision_checks(decision), *_signal_checks(signal), *_refusal_checks(refusal)],
        "orders": orders,
        "features": features(decision),
        "feature_count": len([name for name in decision.features if not name.startswith("_")]),
        "deployment": decision.deployment,
        "owner": owner_words(decision.deployment.key),
    }


def why_refusal(refusal: Refusal, decision: Decision | None) -> dict[str, Any]:
    """Return the context of the panel for a refusal; without a decision it was a person's order."""
    if decision is not None:
        return why_decision(decision)
    return {
        "title": "Why not?",
        "symbol": refusal.instrument.symbol,
        "market_at": refusal.market_at,
        "state": REFUSED,
        "tag": "loss",
        "checks": [Check(OK, "asked for by a person", "Order"), *_refusal_checks(refusal)],
        "orders": [],
        "features": [],
        "owner": owner_words(refusal.owner),
    }


def features(decision: Decision) -> list[tuple[str, str]]:
    """Return the first features that the decision saw, as (name, figure)."""
    shown = sorted((name, value) for name, value in decision.features.items() if not name.startswith("_"))
    return [(name, f.plain(value, 4)) for name, value in shown[:FEATURES_SHOWN]]


def _decision_checks(decision: Decision) -> list[Check]:
    if decision.outcome == Decision.Outcome.LATE:
        return [Check(REFUSED, "the bar came late: stepped and recorded, never decided", "Data")]
    if decision.outcome == Decision.Outcome.BLOCKED:
        return [Check(REFUSED, f.words(decision.reason) or "features incomplete", "Data")]
    seen = [value for name, value in decision.features.items() if not name.startswith("_")]
    warm = sum(value is not None for value in seen)
    lines = [Check(OK, f"{warm} of {len(seen)} features, bar revision {decision.bar_revision}", "Data")]
    if decision.outcome == Decision.Outcome.HOLD:
        return [*lines, Check(OK, f"{f.words(decision.reason)}: nothing to do", "Strategy")]
    wants = {1: "wants long", -1: "wants short", 0: "wants out"}[decision.direction]
    strength = f" {f.number(decision.strength, 2)}" if decision.direction else ""
    lines.append(Check(OK, f"{f.words(decision.reason)}: {wants}{strength}", "Strategy"))
    return [*lines, Check(OK, f"{decision.deployment.stage} stage", "Stage")]


def _signal_checks(signal: Any) -> list[Check]:
    """A signal that ended without a limit's refusal: expired, or refused by what is no limit."""
    if signal is None or signal.state != "expired":
        return []
    return [Check(REFUSED, signal.detail or "not sent within its horizon", "Time")]


def _refusal_checks(refusal: Refusal | None) -> list[Check]:
    if refusal is None:
        return []
    lines = [_limit_check(check) for check in refusal.checks]
    if not any(line.verdict == REFUSED for line in lines):
        lines.append(Check(REFUSED, refusal.detail, f.words(refusal.check_name).capitalize()))
    return lines


def _limit_check(check: dict[str, Any]) -> Check:
    name, verdict = str(check.get("name", "")), str(check.get("verdict", NOT_ASKED))
    part = f.words(name).capitalize()
    if verdict not in (OK, REFUSED):
        return Check(NOT_ASKED, "not asked", part)
    number, limit = check.get("number"), check.get("limit")
    shown = f.share if name in SHARES else lambda value: f.plain(value, 4)
    text = f"{shown(number)} of {shown(limit)}" if limit is not None else str(check.get("detail", "")) or "fine"
    return Check(verdict, f"{text}: refused" if verdict == REFUSED else text, part)


def decision_uuid(value: Any) -> UUID | None:
    """Return a decision's id, or None where a refusal has none."""
    return value if isinstance(value, UUID) else None
