"""The venue's memory on disk: one SQLite file, written through before anything is acknowledged.

Every change of an event (an order placed, a print that filled three of them) is one transaction that
is flushed to disk before the answer or a frame about it leaves; so a kill at any moment loses nothing
that a client was told. What is only looked at (requests in the ledger) goes along, or every 250 ms.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from apps.simulator.exchange.records import AccountRecord, ExecutionRecord, OrderRecord, encode

SCHEMA_VERSION = 1
SCHEMA = """
CREATE TABLE IF NOT EXISTS account (uid INTEGER PRIMARY KEY, api_key TEXT UNIQUE NOT NULL, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS venue_order (
  number INTEGER PRIMARY KEY, uid INTEGER NOT NULL, kind TEXT NOT NULL, symbol TEXT NOT NULL,
  order_id TEXT NOT NULL, link_id TEXT NOT NULL, is_open INTEGER NOT NULL, created_ms INTEGER NOT NULL,
  is_stop INTEGER NOT NULL, body BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS venue_order_id ON venue_order (uid, order_id);
CREATE INDEX IF NOT EXISTS venue_order_link ON venue_order (uid, link_id) WHERE link_id <> '';
CREATE INDEX IF NOT EXISTS venue_order_open ON venue_order (number) WHERE is_open = 1;
CREATE TABLE IF NOT EXISTS execution (
  number INTEGER PRIMARY KEY, uid INTEGER NOT NULL, kind TEXT NOT NULL, symbol TEXT NOT NULL,
  order_id TEXT NOT NULL, link_id TEXT NOT NULL, exec_type TEXT NOT NULL, market_ms INTEGER NOT NULL,
  body BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS execution_order ON execution (uid, order_id);
CREATE INDEX IF NOT EXISTS execution_link ON execution (uid, link_id) WHERE link_id <> '';
CREATE TABLE IF NOT EXISTS ledger (
  seq INTEGER PRIMARY KEY, kind TEXT NOT NULL, body BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS ledger_kind ON ledger (kind, seq);
"""

Record = TypeVar("Record")


class StoreError(RuntimeError):
    """The state folder cannot be used; the text says what to do."""


class Store:
    """The file and what is to be written next. One process at a time: a lock on DIR/lock says so."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder = folder
        self._lock = self._lock_take(folder / "lock")
        self._connection = sqlite3.connect(folder / "exchange.sqlite", isolation_level=None, check_same_thread=False)
        os.chmod(folder / "exchange.sqlite", 0o600)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._flushes = True
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, SCHEMA_VERSION):
            raise StoreError(f"{folder} was written by another version ({version}); fix: give --state a new folder")
        self._connection.executescript(SCHEMA)
        self._connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        self._orders: dict[int, OrderRecord] = {}
        self._executions: list[ExecutionRecord] = []
        self._accounts: dict[int, AccountRecord] = {}
        self._ledger: dict[int, tuple[str, Any]] = {}

    def order_put(self, order: OrderRecord) -> None:
        """Write this order with the next commit."""
        self._orders[order.number] = order

    def execution_put(self, execution: ExecutionRecord) -> None:
        """Write this execution with the next commit."""
        self._executions.append(execution)

    def account_put(self, account: AccountRecord) -> None:
        """Write this account with the next commit."""
        self._accounts[account.uid] = account

    def ledger_put(self, seq: int, kind: str, body: Any) -> None:
        """Write this ledger row with the next commit, or flush."""
        self._ledger[seq] = (kind, body)

    @property
    def has_news(self) -> bool:
        """Whether orders, executions or accounts wait to be written."""
        return bool(self._orders or self._executions or self._accounts)

    def commit(self) -> None:
        """Write all that waits in one transaction, and return when it is on the disk."""
        if not (self.has_news or self._ledger):
            return
        run = self._connection
        self._flush_needed(self.has_news)
        run.execute("BEGIN IMMEDIATE")
        try:
            run.executemany("INSERT OR REPLACE INTO venue_order VALUES (?,?,?,?,?,?,?,?,?,?)", self._order_rows())
            run.executemany("INSERT INTO execution VALUES (?,?,?,?,?,?,?,?,?)", self._execution_rows())
            run.executemany(
                "INSERT OR REPLACE INTO account VALUES (?,?,?)",
                [(a.uid, a.api_key, encode(a)) for a in self._accounts.values()],
            )
            run.executemany(
                "INSERT OR REPLACE INTO ledger VALUES (?,?,?)",
                [(seq, kind, encode(body)) for seq, (kind, body) in self._ledger.items()],
            )
        except BaseException:
            run.execute("ROLLBACK")
            raise
        run.execute("COMMIT")
        self._orders.clear()
        self._executions.clear()
        self._accounts.clear()
        self._ledger.clear()

    def _flush_needed(self, needed: bool) -> None:
        """Ledger rows alone may go with the next flush: a wait for the disk four times a second would delay frames."""
        if needed != self._flushes:
            self._connection.execute(f"PRAGMA synchronous={'FULL' if needed else 'NORMAL'}")
            self._flushes = needed

    def accounts(self) -> list[AccountRecord]:
        """Return every account."""
        return self._read("SELECT body FROM account ORDER BY uid", (), AccountRecord)

    def orders_open(self) -> list[OrderRecord]:
        """Return every open order, older first."""
        return self._read("SELECT body FROM venue_order WHERE is_open = 1 ORDER BY number", (), OrderRecord)

    def orders_closed(self, uid: int, limit: int) -> list[OrderRecord]:
        """Return an account's newest closed orders, newest first."""
        sql = "SELECT body FROM venue_order WHERE is_open = 0 AND uid = ? ORDER BY number DESC LIMIT ?"
        return self._read(sql, (uid, limit), OrderRecord)

    def numbers_last(self) -> tuple[int, int, int]:
        """Return the last order number, execution number and ledger seq in use."""
        row = self._connection.execute(
            "SELECT (SELECT coalesce(max(number), 0) FROM venue_order),"
            " (SELECT coalesce(max(number), 0) FROM execution),"
            " (SELECT coalesce(max(seq), 0) FROM ledger)"
        ).fetchone()
        return row[0], row[1], row[2]

    def find(self, table: str, kind: type[Record], where: dict[str, Any], before: int, limit: int) -> list[Record]:
        """Return rows of `table` that fit `where` (SQL condition -> value), newest first, numbers below `before`."""
        conditions = " AND ".join(["number < ?", *where])
        sql = f"SELECT body FROM {table} WHERE {conditions} ORDER BY number DESC LIMIT ?"
        return self._read(sql, (before, *where.values(), limit), kind)

    def ledger_read(self, since: int, kind: str, limit: int) -> list[tuple[int, bytes]]:
        """Return ledger rows after `since` as (seq, JSON), in order."""
        wanted = "AND kind = ?" if kind else ""
        arguments = (since, kind, limit) if kind else (since, limit)
        sql = f"SELECT seq, body FROM ledger WHERE seq > ? {wanted} ORDER BY seq LIMIT ?"
        return self._connection.execute(sql, arguments).fetchall()

    def ledger_trim(self, keep: int) -> None:
        """Forget all but the newest `keep` rows of the ledger."""
        self._connection.execute("DELETE FROM ledger WHERE seq <= (SELECT max(seq) FROM ledger) - ?", (keep,))

    def close(self) -> None:
        """Write what waits and let the folder go."""
        self.commit()
        self._connection.close()
        os.close(self._lock)

    def _read(self, sql: str, arguments: Iterable[Any], kind: type[Record]) -> list[Record]:
        decoder = msgspec.json.Decoder(kind)
        return [decoder.decode(row[0]) for row in self._connection.execute(sql, tuple(arguments))]

    def _order_rows(self) -> Iterator[tuple[Any, ...]]:
        for o in self._orders.values():
            yield (
                o.number, o.uid, o.kind, o.symbol, o.order_id, o.link_id, int(o.is_open), o.created_ms,
                int(o.order_filter == "StopOrder"), encode(o),
            )  # fmt: skip

    def _execution_rows(self) -> Iterator[tuple[Any, ...]]:
        for e in self._executions:
            ms = e.market_ns // 1_000_000
            yield (e.number, e.uid, e.kind, e.symbol, e.order_id, e.link_id, e.exec_type, ms, encode(e))

    @staticmethod
    def _lock_take(path: Path) -> int:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise StoreError(
                f"{path.parent} is in use by another simulator; fix: stop that one, or give --state another folder"
            ) from None
        return descriptor
