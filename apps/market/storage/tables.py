"""Where bars and prints live: parent tables, each partitioned by market time.

Prints, and bars of a minute and finer, are cut by day, bars up to an hour by month, of a day and coarser by year.
Partitions are made when a row needs one, for any date: a replay of 2018 and today's market stand beside each other.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

NANOSECONDS = 1_000_000_000
MINUTE_NS = 60 * NANOSECONDS
DAY_S = 86_400
PARTITION_LOCK = 0x71646261  # "qdba": one maker of partitions at a time, over all processes

COLUMNS = (
    "epoch_id",
    "instrument_id",
    "timeframe_s",
    "source",
    "open_ns",
    "revision",
    "open",
    "high",
    "low",
    "close",
    "volume",
    "turnover",
    "trades",
    "flags",
    "known_ns",
)

PARENTS = ("market_bar_day", "market_bar_month", "market_bar_year")
PRINTS = "market_print_day"


@dataclass(frozen=True)
class Partition:
    """One partition: its name, its parent and the span of market times `[from_ns, to_ns)` it holds."""

    parent: str
    name: str
    from_ns: int
    to_ns: int


def parent_of(timeframe_s: int) -> str:
    """Return the parent table for bars of this timeframe."""
    if timeframe_s <= 60:
        return "market_bar_day"
    if timeframe_s < DAY_S:
        return "market_bar_month"
    return "market_bar_year"


def prints_partition_of(market_ns: int) -> Partition:
    """Return the partition that holds the prints of this moment's day."""
    midnight = _midnight(market_ns)
    return Partition(PRINTS, f"{PRINTS}_{midnight:%Y%m%d}", _ns(midnight), _ns(midnight + timedelta(days=1)))


def partition_of(timeframe_s: int, open_ns: int) -> Partition:
    """Return the partition that holds a bar of this timeframe and open time."""
    parent = parent_of(timeframe_s)
    midnight = _midnight(open_ns)
    if parent == "market_bar_day":
        start, end, label = midnight, midnight + timedelta(days=1), f"{midnight:%Y%m%d}"
    elif parent == "market_bar_month":
        start = midnight.replace(day=1)
        end, label = (start + timedelta(days=32)).replace(day=1), f"{start:%Y%m}"
    else:
        start = midnight.replace(month=1, day=1)
        end, label = start.replace(year=start.year + 1), f"{start:%Y}"
    return Partition(parent, f"{parent}_{label}", _ns(start), _ns(end))


def partitions_sql(partitions: list[Partition]) -> str:
    """Return one batch of statements that makes those partitions which do not exist.

    A table is made apart and then attached: attaching needs a weaker lock on the parent than `PARTITION OF`,
    so that nobody who reads or writes rows waits for it.
    """
    statements = [f"SELECT pg_advisory_xact_lock({PARTITION_LOCK})"]
    statements += [_make_sql(partition) for partition in partitions]
    return ";\n".join(statements)


def _make_sql(partition: Partition) -> str:
    return f"""DO $$ BEGIN
    IF to_regclass('{partition.name}') IS NULL THEN
        CREATE TABLE {partition.name} (LIKE {partition.parent} INCLUDING ALL);
        ALTER TABLE {partition.parent} ATTACH PARTITION {partition.name}
            FOR VALUES FROM ({partition.from_ns}) TO ({partition.to_ns});
    END IF;
END $$"""


def _midnight(market_ns: int) -> datetime:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=market_ns // NANOSECONDS)
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def _ns(moment: datetime) -> int:
    return int(moment.timestamp()) * NANOSECONDS
