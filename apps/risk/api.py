"""The API of risk: limits, what they refused, and the kill switch."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from ninja import Query, Router
from pydantic import Field, StrictBool, StringConstraints

from apps.common.api import (
    In,
    Key,
    Listing,
    Moment,
    MomentAsked,
    Money,
    Out,
    PageAsked,
    Problem,
    Text,
    answers,
    page_schema,
)
from apps.risk.models import Limit, Refusal
from apps.risk.selectors import kill_states
from apps.risk.services import KillError, KillResult, kill_engage_sync, kill_release_sync
from apps.users.selectors import bearer
from apps.users.services import password_fresh

router = Router(tags=["risk"])
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ENGAGED = "engaged"
REASON_LEAST = 4
Scope = Annotated[
    str,
    StringConstraints(pattern=r"^(all|account:[1-9]\d{0,17}|deployment:[A-Za-z0-9_.-]{1,64})$"),
    Field(description="all, account:ID or deployment:KEY."),
]


class LimitOut(Out):
    """One limit. The tightest that applies binds; an empty scope field means any."""

    id: int
    check: str
    account: int | None
    deployment: str
    instrument: int | None
    value: Money
    updated_at: Moment


class LimitsAsked(PageAsked):
    """Which limits."""

    account: Key | None = None
    deployment: Text | None = None
    instrument: Key | None = None
    check: Text | None = None


LIMIT = {
    "id": "pk",
    "check": "check_name",
    "account": "account_id",
    "deployment": "deployment_key",
    "instrument": "instrument_id",
    "value": "value",
    "updated_at": "updated_at",
}
LIMITS = Listing(
    Limit.objects.all(),
    LIMIT,
    {
        "account": ("account_id", "{} = %s"),
        "deployment": ("deployment_key", "{} = %s"),
        "instrument": ("instrument_id", "{} = %s"),
        "check": ("check_name", "{} = %s"),
    },
)


@router.get("/limits", auth=bearer.READ, response=answers(page_schema(LimitOut)), summary="Limits")
def limits(request: HttpRequest, asked: Query[LimitsAsked]) -> HttpResponse:
    """Return the limits that are set."""
    return LIMITS.page(asked)


class CheckOut(Out):
    """One check as it was asked: its number against the limit."""

    name: str
    number: str | None
    limit: str | None
    verdict: str


class RefusalOut(Out):
    """A check that said no: which, the number and the limit."""

    id: UUID
    account: int
    instrument: int
    symbol: str
    owner: str
    decision: UUID | None
    check: str
    number: Money | None
    limit: Money | None
    detail: str
    checks: list[CheckOut] = Field(description="All checks in order; those after the first no were not asked.")
    market_at: Moment
    created_at: Moment


class RefusalsAsked(PageAsked):
    """Which refusals."""

    account: Key | None = None
    instrument: Key | None = None
    owner: Text | None = None
    check: Text | None = None
    since: MomentAsked | None = Field(None, description="Market time from which on.")
    until: MomentAsked | None = Field(None, description="Market time before which.")


REFUSAL = {
    "id": "pk",
    "account": "account_id",
    "instrument": "instrument_id",
    "symbol": "instrument__symbol",
    "owner": "owner",
    "decision": "decision_id",
    "check": "check_name",
    **{name: name for name in ("number", "limit", "detail", "checks", "market_at", "created_at")},
}
REFUSALS = Listing(
    Refusal.objects.all(),
    REFUSAL,
    {
        "account": ("account_id", "{} = %s"),
        "instrument": ("instrument_id", "{} = %s"),
        "owner": ("owner", "{} = %s"),
        "check": ("check_name", "{} = %s"),
        "since": ("market_at", "{} >= %s"),
        "until": ("market_at", "{} < %s"),
    },
    ("-created_at", "-pk"),
)


@router.get("/refusals", auth=bearer.READ, response=answers(page_schema(RefusalOut)), summary="Refusals")
def refusals(request: HttpRequest, asked: Query[RefusalsAsked]) -> HttpResponse:
    """Return what checks refused, newest first."""
    return REFUSALS.page(asked)


class KillScopeOut(Out):
    """What the three records say together of one scope."""

    scope: str
    state: Literal["clear", "engaged", "unclear"]
    why: str = Field(description="What makes it unclear: a record that is missing or cannot be read blocks new risk.")
    generation: int
    by: str
    reason: str
    flatten: bool
    at: Moment | None


class KillOut(Out):
    """The kill switch, by scope; `all` is always there."""

    scopes: list[KillScopeOut]


class KillDoneOut(Out):
    """What became of it: the record, and each place's word, `ok` or why not. To engage, one suffices."""

    scope: str
    state: Literal["clear", "engaged"]
    generation: int
    by: str
    reason: str
    flatten: bool
    at: Moment
    written: dict[str, str]


class EngageIn(In):
    """What is stopped, and why."""

    scope: Scope = "all"
    reason: Text = ""
    flatten: StrictBool = Field(False, description="Close positions too, by orders that only reduce.")


class ReleaseIn(In):
    """What may go on, why that is safe, and the password of the token's owner."""

    scope: Scope = "all"
    reason: Annotated[Text, Field(min_length=REASON_LEAST, description="Kept in the audit.")]
    password: Annotated[str, Field(min_length=1, max_length=200, json_schema_extra={"format": "password"})]


@router.get("/kill", auth=bearer.READ, response=answers(KillOut), summary="The kill switch")
def kill(request: HttpRequest) -> dict[str, Any]:
    """Return what the kill switch's three records say now."""
    return {"scopes": kill_scopes()}


def kill_scopes() -> list[dict[str, Any]]:
    """Return every scope's state as the API tells it."""
    found = []
    for scope, state in sorted(kill_states().items()):
        record = state.record
        words = {name: getattr(record, name, empty) for name, empty in (("generation", 0), ("by", ""), ("reason", ""))}
        at = _moment(record.at_ns) if record is not None and record.at_ns else None
        flatten = bool(getattr(record, "flatten", False))
        found.append({"scope": scope, "state": state.state, "why": state.why, **words, "flatten": flatten, "at": at})
    return found


@router.post("/kill/engage", auth=bearer.KILL_ENGAGE, response=answers(KillDoneOut, 400), summary="Engage")
def kill_engage(request: HttpRequest, payload: EngageIn) -> dict[str, Any]:
    """Engage the kill switch. Any one of its three records suffices, so it works with the database gone."""
    by = request.auth.by  # type: ignore[attr-defined]
    try:
        return _done(kill_engage_sync(payload.scope, by, payload.reason, payload.flatten))
    except ValueError as error:
        raise Problem(422, str(error), field="scope", fix="give all, account:ID or deployment:KEY") from None
    except KillError as error:
        raise Problem(503, str(error), fix="cancel at the venue, and try again") from None


@router.post("/kill/release", auth=bearer.KILL_RELEASE, response=answers(KillDoneOut, 400, 409, 429), summary="Release")
def kill_release(request: HttpRequest, payload: ReleaseIn) -> dict[str, Any]:
    """Release the kill switch: the scope kill:release, a reason, and the owner's password. All records must take it."""
    if not payload.reason.strip():
        raise Problem(422, "Say why it is safe to go on.", field="reason", fix="a few words, kept in the audit")
    if not password_fresh(request=request, password=payload.password):
        raise Problem(403, "That is not the owner's password. Still engaged.", field="password", fix="give it anew")
    try:
        return _done(kill_release_sync(payload.scope, request.auth.by, payload.reason.strip()))  # type: ignore[attr-defined]
    except (KillError, ValueError) as error:
        raise Problem(409, str(error), field="scope", fix="see /api/v1/kill for what stands") from None


def _done(result: KillResult) -> dict[str, Any]:
    record = result.record
    names = ("scope", "state", "generation", "by", "reason", "flatten")
    return {
        **{name: getattr(record, name) for name in names},
        "at": _moment(record.at_ns),
        "written": dict(result.written),
    }


def _moment(ns: int) -> datetime:
    return EPOCH + timedelta(microseconds=ns // 1000)
