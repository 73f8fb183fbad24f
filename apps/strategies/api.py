"""The API of strategies: deployments, started and stopped; their signals and decisions."""

from typing import Annotated, Any, Literal
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpRequest
from ninja import Query, Router
from pydantic import Field

from apps.common.api import (
    In,
    Key,
    Moment,
    MomentAsked,
    Out,
    PageAsked,
    Problem,
    Text,
    answers,
    page_read,
    page_schema,
)  # fmt: skip
from apps.portfolio.models import Account
from apps.strategies.models import Decision, Deployment, Signal
from apps.strategies.services import DeploymentRefused, deployment_start, deployment_stop
from apps.users.selectors import bearer

router = Router(tags=["strategies"])
StageName = Literal["shadow", "canary", "gradual", "full"]
SignalState = Literal["new", "accepted", "refused", "ordered", "done", "expired"]
Outcome = Literal["hold", "signal", "late", "blocked"]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Name = Annotated[Text, Field(max_length=64)]


class SignalOut(Out):
    """What a strategy wanted, and what became of it."""

    id: int
    decision: UUID
    deployment: str
    account: int
    instrument: int
    symbol: str
    direction: int = Field(description="-1 short, 0 flat, 1 long.")
    strength: float
    horizon_s: int
    reason: str
    state: SignalState
    refused_by: str = Field(description="The first check that said no.")
    detail: str
    market_at: Moment
    created_at: Moment
    updated_at: Moment


class DecisionOut(Out):
    """One call of a strategy for an instrument and a bar, with what it saw and what came of it."""

    id: UUID
    deployment: str
    account: int
    instrument: int
    symbol: str
    bar_open: Moment
    bar_revision: int
    market_at: Moment
    outcome: Outcome
    reason: str
    direction: int
    strength: float
    features: dict[str, Any] = Field(description="Name to value, as decided upon; floats as hex under `_bits`.")
    created_at: Moment


class HistoryAsked(PageAsked):
    """Which signals or decisions."""

    account: Key | None = None
    deployment: Name | None = None
    instrument: Key | None = None
    reason: Name | None = None
    since: MomentAsked | None = Field(None, description="Market time from which on.")
    until: MomentAsked | None = Field(None, description="Market time before which.")


class SignalsAsked(HistoryAsked):
    """Which signals."""

    state: SignalState | None = None


class DecisionsAsked(HistoryAsked):
    """Which decisions."""

    outcome: Outcome | None = None


WHOSE = {
    "id": "pk",
    "deployment": "deployment__key",
    "account": "deployment__account_id",
    "instrument": "instrument_id",
    "symbol": "instrument__symbol",
}
OF_SIGNAL = ("direction", "strength", "horizon_s", "reason", "state", "refused_by", "detail", "market_at")
OF_DECISION = ("bar_open", "bar_revision", "market_at", "outcome", "reason", "direction", "strength", "features")
SIGNAL = {
    **WHOSE,
    "decision": "decision_id",
    **{name: name for name in (*OF_SIGNAL, "created_at", "updated_at")},
}
DECISION = {**WHOSE, **{name: name for name in (*OF_DECISION, "created_at")}}
NEWEST = ("-market_at", "-pk")


@router.get("/signals", auth=bearer.READ, response=answers(page_schema(SignalOut)), summary="Signals")
def signals(request: HttpRequest, asked: Query[SignalsAsked]) -> dict[str, Any]:
    """Return signals, newest first."""
    found = _of(Signal.objects.all(), asked)
    if asked.state is not None:
        found = found.filter(state=asked.state)
    return page_read(found, SIGNAL, asked, NEWEST)


@router.get("/signals/{signal_id}", auth=bearer.READ, response=answers(SignalOut, 404), summary="Signal")
def signal(request: HttpRequest, signal_id: Key) -> dict[str, Any]:
    """Return one signal."""
    return _one(Signal.objects.filter(pk=signal_id), SIGNAL, "signal", signal_id)


@router.get("/decisions", auth=bearer.READ, response=answers(page_schema(DecisionOut)), summary="Decisions")
def decisions(request: HttpRequest, asked: Query[DecisionsAsked]) -> dict[str, Any]:
    """Return decisions, newest first."""
    found = _of(Decision.objects.all(), asked)
    if asked.outcome is not None:
        found = found.filter(outcome=asked.outcome)
    return page_read(found, DECISION, asked, NEWEST)


@router.get("/decisions/{decision_id}", auth=bearer.READ, response=answers(DecisionOut, 404), summary="Decision")
def decision(request: HttpRequest, decision_id: UUID) -> dict[str, Any]:
    """Return one decision."""
    return _one(Decision.objects.filter(pk=decision_id), DECISION, "decision", decision_id)


class DeploymentOut(Out):
    """A strategy at work. Immutable but for its state: a change is a successor."""

    key: str
    strategy: str
    code_hash: str
    parameters: dict[str, Any] = Field(description="The strategy's own, and the sizing, complete.")
    universe: str
    account: int
    stage: StageName
    state: Literal["running", "stopped", "replaced"]
    no_stop_reason: str
    predecessor: str | None
    created_at: Moment
    stopped_at: Moment | None


class DeploymentsAsked(PageAsked):
    """Which deployments."""

    account: Key | None = None
    strategy: Name | None = None
    state: Literal["running", "stopped", "replaced"] | None = None


DEPLOYMENT: dict[str, Any] = {
    **{name: name for name in ("key", "strategy", "code_hash", "parameters", "stage", "state", "no_stop_reason")},
    "universe": "universe_name",
    "account": "account_id",
    "predecessor": "predecessor__key",
    "created_at": "created_at",
    "stopped_at": "stopped_at",
}


@router.get("/deployments", auth=bearer.READ, response=answers(page_schema(DeploymentOut)), summary="Deployments")
def deployments(request: HttpRequest, asked: Query[DeploymentsAsked]) -> dict[str, Any]:
    """Return deployments, newest first."""
    found = Deployment.objects.all()
    for name in ("account", "strategy", "state"):
        if (wanted := getattr(asked, name)) is not None:
            found = found.filter(**{name: wanted})
    return page_read(found, DEPLOYMENT, asked)


class DeploymentIn(In):
    """A deployment to start. What is left out takes the strategy's default."""

    strategy: Name
    account: Key
    universe: Name = "desk"
    stage: StageName = "full"
    parameters: dict[Name, Number] = Field({}, description="The strategy's own.")
    sizing: dict[Name, Number] = Field({}, description="risk_share and position_share.")
    no_stop_reason: Text = Field("", description="Only to do without protective stops: why.")
    reason: Text = Field("", description="Kept in the audit.")


class StopIn(In):
    """Why a deployment is stopped."""

    reason: Text = Field("", description="Kept in the audit.")


@router.post(
    "/deployments", auth=bearer.DEPLOYMENTS, response=answers(DeploymentOut, 400, status=201), summary="Start one"
)
def deployment_begin(request: HttpRequest, payload: DeploymentIn) -> dict[str, Any]:
    """Put a strategy to work on an account; it decides from the next bar on."""
    account = Account.objects.filter(pk=payload.account).first()
    if account is None:
        raise Problem(422, "There is no such account.", field="account", fix="give an id from /api/v1/accounts")
    try:
        row = deployment_start(
            strategy=payload.strategy,
            account=account,
            universe=payload.universe,
            by=request.auth.by,  # type: ignore[attr-defined]
            parameters=payload.parameters,
            sizing=payload.sizing,
            stage=payload.stage,
            no_stop_reason=payload.no_stop_reason,
            reason=payload.reason,
        )
    except DeploymentRefused as refused:
        raise _refused(refused, 422) from None
    return _deployment(row)


@router.post(
    "/deployments/{key}/stop",
    auth=bearer.DEPLOYMENTS,
    response=answers(DeploymentOut, 400, 404, 409),
    summary="Stop one",
)
def deployment_end(request: HttpRequest, key: Name, payload: StopIn) -> dict[str, Any]:
    """Stop a deployment: it decides nothing more; its positions keep their stops until a person closes them."""
    try:
        return _deployment(deployment_stop(key, by=request.auth.by, reason=payload.reason))  # type: ignore[attr-defined]
    except DeploymentRefused as refused:
        is_known = Deployment.objects.filter(key=key).exists()
        raise _refused(refused, 409 if is_known else 404) from None


def _deployment(row: Deployment) -> dict[str, Any]:
    found = Deployment.objects.filter(pk=row.pk).values_list(*DEPLOYMENT.values()).get()
    return dict(zip(DEPLOYMENT, found, strict=True))


def _refused(refused: DeploymentRefused, status: int) -> Problem:
    field, separator, words = str(refused).partition(": ")
    return Problem(status, f"{refused}.", field=field if separator else None, fix=words or str(refused))


def _of(found: QuerySet[Any], asked: HistoryAsked) -> QuerySet[Any]:
    wanted = {
        "deployment__account": asked.account,
        "deployment__key": asked.deployment,
        "instrument": asked.instrument,
        "reason": asked.reason,
        "market_at__gte": asked.since,
        "market_at__lt": asked.until,
    }
    return found.filter(**{name: value for name, value in wanted.items() if value is not None})


def _one(found: QuerySet[Any], columns: dict[str, Any], what: str, key: object) -> dict[str, Any]:
    row = found.values_list(*columns.values()).first()
    if row is None:
        raise Problem(404, f"There is no {what} {key}.", field=f"{what}_id", fix=f"see /api/v1/{what}s")
    return dict(zip(columns, row, strict=True))
