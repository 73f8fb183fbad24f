"""The API of strategies: deployments, started and stopped; their signals and decisions."""

from typing import Annotated, Any, Literal
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from ninja import Query, Router
from pydantic import Field

from apps.common.api import (
    In,
    Key,
    Listing,
    Moment,
    MomentAsked,
    Out,
    PageAsked,
    Problem,
    Text,
    answers,
    page_schema,
)
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
OF_BOTH = {
    "id": ("pk", "{} = %s"),
    "account": ("deployment__account_id", "{} = %s"),
    "deployment": ("deployment__key", "{} = %s"),
    "instrument": ("instrument_id", "{} = %s"),
    "reason": ("reason", "{} = %s"),
    "since": ("market_at", "{} >= %s"),
    "until": ("market_at", "{} < %s"),
}
NEWEST = ("-market_at", "-pk")
SIGNALS = Listing(Signal.objects.all(), SIGNAL, OF_BOTH | {"state": ("state", "{} = %s")}, NEWEST)
DECISIONS = Listing(Decision.objects.all(), DECISION, OF_BOTH | {"outcome": ("outcome", "{} = %s")}, NEWEST)


@router.get("/signals", auth=bearer.READ, response=answers(page_schema(SignalOut)), summary="Signals")
def signals(request: HttpRequest, asked: Query[SignalsAsked]) -> HttpResponse:
    """Return signals, newest first."""
    return SIGNALS.page(asked)


@router.get("/signals/{signal_id}", auth=bearer.READ, response=answers(SignalOut, 404), summary="Signal")
def signal(request: HttpRequest, signal_id: Key) -> HttpResponse:
    """Return one signal."""
    return _one(SIGNALS, "signal", signal_id)


@router.get("/decisions", auth=bearer.READ, response=answers(page_schema(DecisionOut)), summary="Decisions")
def decisions(request: HttpRequest, asked: Query[DecisionsAsked]) -> HttpResponse:
    """Return decisions, newest first."""
    return DECISIONS.page(asked)


@router.get("/decisions/{decision_id}", auth=bearer.READ, response=answers(DecisionOut, 404), summary="Decision")
def decision(request: HttpRequest, decision_id: UUID) -> HttpResponse:
    """Return one decision."""
    return _one(DECISIONS, "decision", decision_id)


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
DEPLOYMENTS = Listing(
    Deployment.objects.all(),
    DEPLOYMENT,
    {
        "id": ("pk", "{} = %s"),
        "account": ("account_id", "{} = %s"),
        "strategy": ("strategy", "{} = %s"),
        "state": ("state", "{} = %s"),
    },
)


@router.get("/deployments", auth=bearer.READ, response=answers(page_schema(DeploymentOut)), summary="Deployments")
def deployments(request: HttpRequest, asked: Query[DeploymentsAsked]) -> HttpResponse:
    """Return deployments, newest first."""
    return DEPLOYMENTS.page(asked)


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
def deployment_begin(request: HttpRequest, payload: DeploymentIn) -> HttpResponse | None:
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
    return DEPLOYMENTS.one(status=201, id=row.pk)


@router.post(
    "/deployments/{key}/stop",
    auth=bearer.DEPLOYMENTS,
    response=answers(DeploymentOut, 400, 404, 409),
    summary="Stop one",
)
def deployment_end(request: HttpRequest, key: Name, payload: StopIn) -> HttpResponse | None:
    """Stop a deployment: it decides nothing more; its positions keep their stops until a person closes them."""
    try:
        row = deployment_stop(key, by=request.auth.by, reason=payload.reason)  # type: ignore[attr-defined]
    except DeploymentRefused as refused:
        is_known = Deployment.objects.filter(key=key).exists()
        raise _refused(refused, 409 if is_known else 404) from None
    return DEPLOYMENTS.one(id=row.pk)


def _refused(refused: DeploymentRefused, status: int) -> Problem:
    field, separator, words = str(refused).partition(": ")
    return Problem(status, f"{refused}.", field=field if separator else None, fix=words or str(refused))


def _one(listing: Listing, what: str, key: object) -> HttpResponse:
    found = listing.one(id=key)
    if found is None:
        raise Problem(404, f"There is no {what} {key}.", field=f"{what}_id", fix=f"see /api/v1/{what}s")
    return found
