"""The SQL of the bar writer and reader. Table names come from `tables.PARENTS`, never from outside."""

from apps.market.storage.rows import BAR_DTYPE, READ_COLUMNS
from apps.market.storage.tables import COLUMNS, parent_of

STAGING = "market_bar_staging"
BAR_COLUMNS = ", ".join(BAR_DTYPE.names or ())
_NAMES = ", ".join(COLUMNS)
_STAGED = ", ".join(
    "coalesce(newest.revision + 1, 0)::smallint"
    if name == "revision"
    else "(CASE WHEN newest.revision IS NULL THEN s.flags ELSE s.flags | 8 END)::smallint"
    if name == "flags"
    else f"s.{name}"
    for name in COLUMNS
)

CREATE_STAGING = f"CREATE TEMP TABLE IF NOT EXISTS {STAGING} (LIKE market_bar_day) ON COMMIT DELETE ROWS"
COPY_TO_STAGING = f"COPY {STAGING} ({_NAMES}) FROM STDIN (FORMAT BINARY)"


def copy_into(timeframe_s: int) -> str:
    """Return the COPY straight into the bars of this timeframe."""
    return f"COPY {parent_of(timeframe_s)} ({_NAMES}) FROM STDIN (FORMAT BINARY)"


_GIVEN = {"epoch_id": "%(epoch_id)s", "timeframe_s": "%(timeframe_s)s", "source": "%(source)s", "revision": "0"}
_ARRAYS = {
    "instrument_id": "bigint",
    "open_ns": "bigint",
    "open": "float8",
    "high": "float8",
    "low": "float8",
    "close": "float8",
    "volume": "float8",
    "turnover": "float8",
    "trades": "int",
    "flags": "smallint",
    "known_ns": "bigint",
}
ARRAY_COLUMNS = tuple(_ARRAYS)


def insert(timeframe_s: int) -> str:
    """Return the one statement that adds a few bars, each unless it is there, if the lease is still ours.

    Its answer has the lease's fence (NULL without a row) beside each added bar's key, one row at least.
    """
    values = ", ".join(_GIVEN.get(name, f"given.{name}") for name in COLUMNS)
    arrays = ", ".join(f"%({name})s::{kind}[]" for name, kind in _ARRAYS.items())
    return f"""
WITH held AS (
    SELECT fence FROM common_lease WHERE kind = %(lease_kind)s AND key = %(lease_key)s
), added AS (
    INSERT INTO {parent_of(timeframe_s)} ({_NAMES})
    SELECT {values} FROM unnest({arrays}) AS given ({", ".join(_ARRAYS)})
    WHERE %(fence)s::bigint IS NULL OR %(fence)s::bigint = (SELECT fence FROM held)
    ON CONFLICT DO NOTHING RETURNING instrument_id, open_ns
)
SELECT (SELECT fence FROM held), added.instrument_id, added.open_ns FROM (SELECT 1) one LEFT JOIN added ON true"""


def merge(timeframe_s: int) -> str:
    """Return the statement that adds from the staging table what storage does not hold yet.

    A bar of the same values is left alone; one of other values becomes the next revision. Volume is compared to
    nine digits: a sum of prints and the venue's own figure may differ in the last bit.
    """
    table = parent_of(timeframe_s)
    return f"""
INSERT INTO {table} ({_NAMES})
SELECT {_STAGED} FROM {STAGING} s
LEFT JOIN LATERAL (
    SELECT b.revision, b.open, b.high, b.low, b.close, b.volume FROM {table} b
    WHERE (b.epoch_id, b.instrument_id, b.timeframe_s, b.source, b.open_ns)
        = (s.epoch_id, s.instrument_id, s.timeframe_s, s.source, s.open_ns)
    ORDER BY b.revision DESC LIMIT 1
) newest ON true
WHERE newest.revision IS NULL
   OR (newest.open, newest.high, newest.low, newest.close) IS DISTINCT FROM (s.open, s.high, s.low, s.close)
   OR abs(newest.volume - s.volume) > 1e-9 * greatest(abs(s.volume), 1e-9)
ON CONFLICT DO NOTHING
RETURNING {READ_COLUMNS}"""


def read(timeframe_s: int, *, newest_first: bool) -> str:
    """Return the query for one instrument's rows, all revisions, in the order of the primary key: nothing is sorted."""
    direction = "DESC" if newest_first else "ASC"
    return f"""
SELECT {BAR_COLUMNS} FROM {parent_of(timeframe_s)}
WHERE epoch_id = %(epoch_id)s AND instrument_id = %(instrument_id)s AND timeframe_s = %(timeframe_s)s
  AND source = %(source)s AND open_ns >= %(start_ns)s AND open_ns < %(end_ns)s
ORDER BY open_ns {direction}, revision {direction} LIMIT %(limit)s"""


def read_many(timeframe_s: int) -> str:
    """Return the COPY that reads a span of several instruments, newest revisions, by instrument and time."""
    return f"""COPY (
    SELECT DISTINCT ON (instrument_id, open_ns) {READ_COLUMNS} FROM {parent_of(timeframe_s)}
    WHERE epoch_id = %(epoch_id)s AND instrument_id = ANY(%(instrument_ids)s::bigint[])
      AND timeframe_s = %(timeframe_s)s AND source = %(source)s
      AND open_ns >= %(start_ns)s AND open_ns < %(end_ns)s
    ORDER BY instrument_id, open_ns, revision DESC
) TO STDOUT (FORMAT BINARY)"""


def newest_open(timeframe_s: int) -> str:
    """Return the query for each instrument's newest stored open time."""
    return f"""
SELECT i.id, (
    SELECT b.open_ns FROM {parent_of(timeframe_s)} b
    WHERE b.epoch_id = %(epoch_id)s AND b.instrument_id = i.id AND b.timeframe_s = %(timeframe_s)s
      AND b.source = %(source)s
    ORDER BY b.open_ns DESC LIMIT 1
) FROM unnest(%(instrument_ids)s::bigint[]) AS i(id)"""
