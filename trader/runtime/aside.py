"""The state moved aside: nothing is deleted, and a live account's orders and positions are not walked away from."""

import time
from collections.abc import Sequence
from pathlib import Path

from trader.config import Config
from trader.runtime.errors import StartError
from trader.runtime.layout import Layout, json_read, json_write

# what belongs to the machine or the person and not to one life of the installation
STAYS = {"logs", "run", "kernels", "backups", "aside"}
UNREADABLE = "unreadable"
UNFINISHED = "unfinished"
AT_WORK = """
select account.name,
  (select count(*) from execution_order o where o.account_id = account.id
   and o.state in ('created', 'sent', 'acknowledged', 'partly_filled', 'cancelling', 'unknown')),
  (select count(distinct p.instrument_id) from portfolio_position p
   where p.account_id = account.id and p.quantity <> 0)
from portfolio_account account where account.is_live order by account.name
"""


def entries_of_state(layout: Layout) -> list[Path]:
    """Return what an installation keeps in its folder."""
    return [entry for entry in sorted(layout.root.iterdir()) if entry.name not in STAYS]


def unfinished_mark(layout: Layout, what: str, fix: str) -> None:
    """Keep `up` from this folder until `unfinished_clear`: what is done to it now must come to its end."""
    json_write(layout.root / UNFINISHED, {"what": what, "fix": fix})


def unfinished_clear(layout: Layout) -> None:
    """Let `up` use the folder again."""
    (layout.root / UNFINISHED).unlink(missing_ok=True)


def unfinished_refuse(layout: Layout) -> None:
    """Raise `StartError` if something that was being done to this folder did not come to its end."""
    if (layout.root / UNFINISHED).exists():
        found = json_read(layout.root / UNFINISHED) or {}
        raise StartError(
            f"{found.get('what', 'Something')} did not come to its end in {layout.root}.",
            found.get("fix", "restore a backup: manage.py restore FILE --aside"),
        )


def aside_move(layout: Layout) -> Path | None:
    """Move the state into `aside/<time>` of the same folder; return that folder, None when there was nothing.

    The database goes first: what is left behind by a crash in between has none, and nothing trades on it.
    """
    found = sorted(entries_of_state(layout), key=lambda entry: entry.name != "postgres")
    if not found:
        return None
    folder = layout.root / "aside" / time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    folder.mkdir(parents=True, mode=0o700)
    for entry in found:
        entry.rename(folder / entry.name)
    return folder


def fresh(config: Config, layout: Layout, abandoned: Sequence[str]) -> Path | None:
    """What `up --fresh` does before it starts; the caller holds the lock of the folder.

    Refused while orders or positions are open on a live account, unless that account is named in `abandoned`.
    """
    if config.runtime.database_url:
        raise StartError(
            "--fresh moves the embedded state aside, and DATABASE_URL names a server of yours.",
            "make an empty database there and set DATABASE_URL to it.",
        )
    if (layout.root / "postgres").exists():
        _refuse_open(layout, set(abandoned))
    return aside_move(layout)


def _refuse_open(layout: Layout, abandoned: set[str]) -> None:
    try:
        rows = _at_work(layout)
    except StartError as error:
        if UNREADABLE in abandoned:
            return
        raise StartError(
            f"Whether a live account has orders or positions cannot be read: {error.what}",
            f"mend that, or say that it does not matter: --fresh --abandon {UNREADABLE}",
        ) from None
    for name, orders, positions in rows:
        if (orders or positions) and name not in abandoned:
            raise StartError(
                f"The live account {name!r} has {orders} open orders and {positions} open positions.",
                f"start without --fresh and close them; to leave them at the venue: --fresh --abandon '{name}'",
            )


def _at_work(layout: Layout) -> list[tuple[str, int, int]]:
    import shutil

    import psycopg

    from trader.runtime.servers import EmbeddedPostgres, socket_folder_new

    sockets = socket_folder_new()
    server = EmbeddedPostgres(layout.root / "postgres", sockets, layout.logs / "postgres.log")
    try:
        server.start()
        with psycopg.connect(server.url, connect_timeout=10, autocommit=True) as connection:
            known = connection.execute("select to_regclass('portfolio_account') is not null").fetchone()
            return list(connection.execute(AT_WORK).fetchall()) if known and known[0] else []
    except psycopg.Error as error:
        raise StartError(
            f"the database does not answer as expected ({type(error).__name__}).", "see its log."
        ) from None
    finally:
        server.stop()
        shutil.rmtree(sockets, ignore_errors=True)
