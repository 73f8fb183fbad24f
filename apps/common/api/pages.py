"""Lists by cursor: a page and the way to the next one in one query, whatever the table's size.

The statement is made from models once and written as JSON by the database: hundreds of reads a second cost the web
process little more than handing bytes on. A cursor holds the sort values of a page's last row, so rows that come or
go meanwhile move nothing.
"""

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any
from uuid import UUID

import msgspec
from django.db import connection
from django.db.models import Expression, F, QuerySet
from django.http import HttpResponse
from pydantic import Field as Described
from pydantic import create_model

from apps.common.api.fields import In, Out, Text, moment, money
from apps.common.api.problems import HEADERS, Problem

LIMIT, LIMIT_MAX = 50, 500
FIX = "give the `next` of the page before, unchanged, with the same filters"
Column = str | Expression
TOLD: dict[str, Callable[[str], Any]] = {"DecimalField": money, "DateTimeField": moment}
CASTS = {"DateTimeField": "timestamptz", "UUIDField": "uuid", "CharField": "text", "SlugField": "text"}


class PageAsked(In):
    """What every list takes: how many rows, and from where on."""

    limit: int = Described(LIMIT, ge=1, le=LIMIT_MAX, description="Rows on a page.")
    cursor: Text | None = Described(None, description="The `next` of the page before.")


PLACE = set(PageAsked.model_fields)


def page_schema(item: type[Out]) -> type[Out]:
    """Return the schema of a page of items."""
    next_ = (str | None, Described(description="Cursor of the next page; null on the last."))
    return create_model(f"{item.__name__}Page", __base__=Out, items=(list[item], ...), next=next_)  # type: ignore[valid-type]


class Listing:
    """A table as the API tells it: columns by name, what can be filtered by, and the order.

    `columns` are field paths or expressions (`money`, `moment`); `filters` hold a field path and the comparison, in
    which `{}` is the field and `%s` the value. The last column of `order` is unique; all run the same way.
    """

    def __init__(
        self,
        rows: QuerySet[Any],
        columns: Mapping[str, Column],
        filters: Mapping[str, tuple[str, str]],
        order: Sequence[str] = ("-pk",),
    ) -> None:
        self.rows, self.columns, self.filters = rows, columns, filters
        self.order = [name.removeprefix("-") for name in order]
        self.is_falling = order[0].startswith("-")

    def page(self, asked: PageAsked, wanted: Mapping[str, Any] | None = None) -> HttpResponse:
        """Answer with a page of the rows for which every filter that is not None holds: what was asked, or `wanted`."""
        where, values = self._where(asked.model_dump(exclude=PLACE) if wanted is None else wanted)
        if asked.cursor is not None:
            where.append(self._behind)
            values += cursor_read(asked.cursor, self._parsers)
        found = self._read(where, values, asked.limit + 1)
        last = found[asked.limit - 1][1:] if len(found) > asked.limit else None
        return page_answer([row[0] for row in found[: asked.limit]], last)

    def one(self, *, status: int = 200, **wanted: Any) -> HttpResponse | None:
        """Answer with the one row for which the filters hold; None where there is none."""
        where, values = self._where(wanted)
        found = self._read(where, values, 1)
        return json_answer(found[0][0], status) if found else None

    def _where(self, wanted: Mapping[str, Any]) -> tuple[list[str], list[Any]]:
        held = {name: value for name, value in wanted.items() if value is not None}
        return [self.filters[name][1].format(f'row."f_{name}"') for name in held], list(held.values())

    def _read(self, where: Sequence[str], values: Sequence[Any], limit: int) -> list[Any]:
        condition = f" WHERE {' AND '.join(where)}" if where else ""
        with connection.cursor() as cursor:
            cursor.execute(f"{self._select}{condition} {self._order} LIMIT %s", [*values, limit])
            return cursor.fetchall()

    @cached_property
    def _select(self) -> str:
        named: dict[str, Column] = {f"o_{name}": column for name, column in self.columns.items()}
        named |= {f"f_{name}": path for name, (path, _) in self.filters.items()}
        named |= {f"k_{place}": path for place, path in enumerate(self.order)}
        expressions = {name: F(column) if isinstance(column, str) else column for name, column in named.items()}
        expressions |= {f"o_{name}": self._told(column) for name, column in self.columns.items()}
        query = self.rows.order_by().annotate(**expressions).values_list(*expressions).query
        inner, values = query.get_compiler(using="default").as_sql()
        if values:
            raise ValueError("a listing's columns take no values")
        told = ", ".join(f"'{name}', row.\"o_{name}\"" for name in self.columns)
        keys = ", ".join(f'row."k_{place}"::text' for place in range(len(self.order)))
        return f"SELECT json_build_object({told})::text, {keys} FROM ({inner}) AS row"

    def _told(self, column: Column) -> Expression | F:
        """Return a column as it leaves: amounts and times as text, the rest as JSON has it."""
        if not isinstance(column, str):
            return column
        return TOLD.get(self._field(column).get_internal_type(), F)(column)

    @cached_property
    def _order(self) -> str:
        way = "DESC" if self.is_falling else "ASC"
        return "ORDER BY " + ", ".join(f'row."k_{place}" {way}' for place in range(len(self.order)))

    @cached_property
    def _behind(self) -> str:
        keys = ", ".join(f'row."k_{place}"' for place in range(len(self.order)))
        values = ", ".join(f"%s::{CASTS.get(kind, 'bigint')}" for kind in self._kinds)
        return f"({keys}) {'<' if self.is_falling else '>'} ({values})"

    @cached_property
    def _kinds(self) -> list[str]:
        return [self._field(path).get_internal_type() for path in self.order]

    @cached_property
    def _parsers(self) -> list[Callable[[Any], Any]]:
        return [PARSERS[CASTS.get(kind, "bigint")] for kind in self._kinds]

    def _field(self, path: str) -> Any:
        model: Any = self.rows.model
        *joins, name = path.split("__")
        for join in joins:
            model = model._meta.get_field(join).related_model
        return model._meta.pk if name == "pk" else model._meta.get_field(name)


def page_answer(items: Sequence[str], last: Sequence[Any] | None) -> HttpResponse:
    """Answer with a page of items that are JSON already; `last` are its sort values where another page follows."""
    following = "null" if last is None else f'"{cursor_make(last)}"'
    return json_answer(f'{{"items": [{", ".join(items)}], "next": {following}}}')


def json_answer(text: str | bytes, status: int = 200) -> HttpResponse:
    """Answer with JSON that is made already."""
    return HttpResponse(text, status=status, content_type="application/json", headers=HEADERS)


def cursor_make(values: Sequence[Any]) -> str:
    """Return the cursor of a row's sort values."""
    return base64.urlsafe_b64encode(msgspec.json.encode([str(value) for value in values])).decode().rstrip("=")


def cursor_read(cursor: str, parsers: Sequence[Callable[[str], Any]]) -> list[Any]:
    """Return a cursor's sort values, or raise a problem that names the field."""
    try:
        text = base64.urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        values = msgspec.json.decode(text, type=list[str])
        return [parse(value) for parse, value in zip(parsers, values, strict=True)]
    except (ValueError, OverflowError, binascii.Error, msgspec.DecodeError):
        raise Problem(422, f"cursor: {FIX}.", field="cursor", fix=FIX) from None


def cursor_int(value: str) -> int:
    """Return a key that a cursor may hold."""
    found = int(value)
    if not -(2**63) <= found < 2**63:
        raise ValueError("no key")
    return found


def _text(value: str) -> str:
    if "\x00" in value:
        raise ValueError("no text")
    return value


def _moment(value: str) -> datetime:
    found = datetime.fromisoformat(value)
    if found.tzinfo is None:
        raise ValueError("a time without a zone")
    return found


PARSERS: dict[str, Callable[[str], Any]] = {
    "bigint": cursor_int, "text": _text, "timestamptz": _moment, "uuid": UUID,
}  # fmt: skip
