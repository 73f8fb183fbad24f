"""Types of the API's fields: money as text, times in UTC, texts that every store can hold."""

from datetime import UTC, datetime
from typing import Annotated, Any

from django.db.models import F, Func, TextField
from django.db.models.functions import Cast
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema

PLAIN = r"^-?\d+(\.\d+)?$"
UTC_TEXT = """to_char(%(expressions)s AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
BIGGEST_KEY = 2**63 - 1


class Out(BaseModel):
    """An answer. What is not declared does not leave."""

    model_config = ConfigDict(extra="ignore")


class In(BaseModel):
    """A request's body or query. Unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


def _text(value: str) -> str:
    if any(ord(letter) < 32 and letter not in "\t\n" for letter in value):
        raise ValueError("without control characters")
    return value


def _moment(value: Any) -> Any:
    """Take ISO 8601 only: a bare number could be seconds or milliseconds, and is refused."""
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str) or len(value) < 11 or value[4:5] != "-":
        raise ValueError("a time such as 2026-01-31T12:00:00Z")
    return value


def _utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("a time with its zone, such as 2026-01-31T12:00:00Z")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("a time between the years 1 and 9999") from None


Money = Annotated[str, StringConstraints(pattern=PLAIN), Field(examples=["6783.5"])]
"""An amount, price or quantity, exact, as text: `money("price")` reads it so from the database."""

MoneyAsked = Annotated[
    str, StringConstraints(pattern=r"^\d{1,20}(\.\d{1,18})?$"), Field(examples=["0.5"], description="Exact, as text.")
]
Moment = datetime
MomentAsked = Annotated[
    datetime,
    BeforeValidator(_moment),
    AfterValidator(_utc),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-01-31T12:00:00Z"]}),
]
Text = Annotated[str, StringConstraints(max_length=200), AfterValidator(_text)]
Key = Annotated[int, Field(ge=1, le=BIGGEST_KEY)]


def money(name: str) -> Cast:
    """Return a column of numbers as exact text without trailing zeros: `0.5`, never `5E-1`."""
    return Cast(Func(F(name), function="trim_scale"), TextField())


def moment(name: str) -> Func:
    """Return a column of times as UTC text, to the microsecond."""
    return Func(F(name), template=UTC_TEXT, output_field=TextField())


def number_text(value: float) -> str:
    """Return a stored float as the shortest plain text that is the same float."""
    text = repr(value)
    if "e" in text or "E" in text:
        from decimal import Decimal

        text = f"{Decimal(text):f}"
    return text.removesuffix(".0")
