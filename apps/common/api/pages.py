"""Lists by cursor: a page and the way to the next one, in one query, whatever the table's size.

A cursor holds the sort values of a page's last row, so rows that come or go meanwhile move nothing.
"""

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from django.db.models import Expression, Model, Q, QuerySet
from pydantic import Field, create_model

from apps.common.api.fields import In, Out, Text
from apps.common.api.problems import Problem

LIMIT, LIMIT_MAX = 50, 500
Column = str | Expression
FIX = "give the `next` of the page before, unchanged, with the same filters"


class PageAsked(In):
    """What every list takes: how many rows, and from where on."""

    limit: int = Field(LIMIT, ge=1, le=LIMIT_MAX, description="Rows on a page.")
    cursor: Text | None = Field(None, description="The `next` of the page before.")


def page_schema(item: type[Out]) -> type[Out]:
    """Return the schema of a page of items."""
    next_ = (str | None, Field(description="Cursor of the next page; null on the last."))
    return create_model(f"{item.__name__}Page", __base__=Out, items=(list[item], ...), next=next_)  # type: ignore[valid-type]


def page_read(
    rows: QuerySet[Any], columns: Mapping[str, Column], asked: PageAsked, order: Sequence[str] = ("-pk",)
) -> dict[str, Any]:
    """Return a page of `rows` as {name: value}, ordered by `order` (its last column unique), in one query."""
    names = [field.removeprefix("-") for field in order]
    model = rows.model
    if asked.cursor is not None:
        rows = rows.filter(_behind(order, cursor_read(asked.cursor, [_parser(model, name) for name in names])))
    found = list(rows.order_by(*order).values_list(*columns.values(), *names)[: asked.limit + 1])
    width = len(columns)
    items = [dict(zip(columns, row, strict=False)) for row in found[: asked.limit]]
    last = found[asked.limit - 1][width:] if len(found) > asked.limit else None
    return page_out(items, last)


def page_out(items: Sequence[Any], last: Sequence[Any] | None) -> dict[str, Any]:
    """Return a page of items; `last` holds the sort values of its last row where another page follows."""
    return {"items": items, "next": None if last is None else cursor_make(last)}


def cursor_make(values: Sequence[Any]) -> str:
    """Return the cursor of a row's sort values."""
    return base64.urlsafe_b64encode(msgspec.json.encode(list(values))).decode().rstrip("=")


def cursor_read(cursor: str, parsers: Sequence[Callable[[Any], Any]]) -> list[Any]:
    """Return a cursor's sort values, or raise a problem that names the field."""
    try:
        values = msgspec.json.decode(base64.urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4)))
        if not isinstance(values, list) or len(values) != len(parsers):
            raise ValueError("another list's")
        return [parse(value) for parse, value in zip(parsers, values, strict=True)]
    except (ValueError, TypeError, OverflowError, UnicodeError, binascii.Error, msgspec.DecodeError):
        raise Problem(422, f"cursor: {FIX}.", field="cursor", fix=FIX) from None


def cursor_int(value: Any) -> int:
    """Return a key that a cursor may hold."""
    if type(value) is not int or not -(2**63) <= value < 2**63:
        raise ValueError("no key")
    return value


def cursor_text(value: Any) -> str:
    """Return a text that a cursor may hold."""
    if type(value) is not str or "\x00" in value:
        raise ValueError("no text")
    return value


def cursor_moment(value: Any) -> datetime:
    """Return a time that a cursor may hold."""
    found = datetime.fromisoformat(cursor_text(value))
    if found.tzinfo is None:
        raise ValueError("a time without a zone")
    return found


def _parser(model: type[Model], name: str) -> Callable[[Any], Any]:
    field = model._meta.pk if name == "pk" else None
    for part in name.split("__") if field is None else ():
        field = model._meta.get_field(part)
        model = field.related_model or model  # type: ignore[assignment]
    kind = field.get_internal_type() if field is not None else ""
    if kind == "UUIDField":
        return lambda value: UUID(cursor_text(value))
    if kind == "DateTimeField":
        return cursor_moment
    return cursor_int if kind in ("BigAutoField", "ForeignKey", "IntegerField") else cursor_text


def _behind(order: Sequence[str], values: Sequence[Any]) -> Q:
    """Return the filter for rows after these sort values; the first column's bound stands alone, for its index."""
    found = Q()
    for place in range(len(order)):
        same = {_name(order[i]): values[i] for i in range(place)}
        found |= Q(**same, **{f"{_name(order[place])}__{_step(order[place])}": values[place]})
    if len(order) > 1:
        found &= Q(**{f"{_name(order[0])}__{_step(order[0])}e": values[0]})
    return found


def _name(field: str) -> str:
    return field.removeprefix("-")


def _step(field: str) -> str:
    return "lt" if field.startswith("-") else "gt"
