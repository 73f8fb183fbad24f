"""`manage.py restore FILE`: an installation out of a backup, in an empty state folder, with the kill switch engaged."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from trader.config import Config
from trader.config.schema import ROOT
from trader.runtime.archive import Manifest, archive_extract, archive_read, archive_verify
from trader.runtime.aside import UNFINISHED, aside_move, entries_of_state, unfinished_clear, unfinished_mark
from trader.runtime.backup import DUMP, ENV, STATE
from trader.runtime.dumps import database_restore, rows_of, tables_count
from trader.runtime.errors import StartError
from trader.runtime.layout import Layout
from trader.runtime.servers import EmbeddedPostgres, EmbeddedServer, EmbeddedValkey, StateLock, socket_folder_new

MANAGE = str(ROOT / "manage.py")
# what was asked of a desk and not done when the backup was made is not wished any more; nobody holds a lease now
SETTLE = """
update execution_deskcommand set state = 'failed', done_at = now(), result = 'the database was restored from a backup'
where state in ('new', 'taken');
update common_lease set holder = '', meta = '{}', expires_at = clock_timestamp() - interval '1 second';
"""


def restore(config: Config, path: Path, *, aside: bool) -> Path | None:
    """Restore a backup; return the folder that the former state was moved to, if there was one.

    Every checksum is compared before anything is touched. Until the kill switch is engaged, a mark in the state folder
    keeps `up` from starting.
    """
    layout = Layout(config.runtime.state_dir)
    manifest = archive_verify(path)
    _refuse_unknown(path, manifest)
    path = path.resolve()
    layout.prepare()
    lock = StateLock(layout.root)
    lock.acquire()
    try:
        if config.runtime.database_url:
            _refuse_filled(config.runtime.database_url)
        moved = _make_empty(layout, path, aside)
        unfinished_mark(layout, "A restore", "do it again: manage.py restore FILE --aside")
        _files(layout, path)
        _servers_and_records(config, layout, manifest)
        unfinished_clear(layout)
    finally:
        lock.release()
    return moved


def _refuse_unknown(path: Path, manifest: Manifest) -> None:
    """Refuse a backup whose schema this version does not know. Only our own apps' migrations are ours to judge."""
    unknown = []
    for name in manifest.migrations:
        app, _, migration = name.partition(".")
        folder = ROOT / "apps" / app / "migrations"
        if folder.is_dir() and not (folder / f"{migration}.py").exists():
            unknown.append(name)
    if unknown:
        raise StartError(
            f"{path} was made by a version ({manifest.quarterdeck}) with changes that this one does not know: "
            f"{', '.join(unknown)}.",
            "restore it with that version or a later one.",
        )


def _refuse_filled(url: str) -> None:
    if tables_count(url):
        raise StartError(
            "The database of DATABASE_URL holds tables: a restore never writes over them.",
            "make an empty database and set DATABASE_URL to it, or unset it to restore into an embedded one.",
        )


def _make_empty(layout: Layout, path: Path, aside: bool) -> Path | None:
    found = [entry for entry in entries_of_state(layout) if entry.name != "keys"]
    if found and not aside:
        raise StartError(
            f"{layout.root} is not empty ({', '.join(entry.name for entry in found)}).",
            "add --aside: what is there is moved aside, nothing is deleted.",
        )
    inside = layout.root in path.parents and path.parents[0].name != "backups"
    if found and inside:
        raise StartError(f"{path} lies in what would be moved aside.", "copy it to another folder first.")
    return aside_move(layout)


def _files(layout: Layout, path: Path) -> None:
    """Write everything into one folder beside, then rename its parts to their places."""
    fresh = layout.root / "run" / "restoring"
    shutil.rmtree(fresh, ignore_errors=True)
    archive_extract(path, fresh)
    for entry in sorted((fresh / STATE).iterdir()) if (fresh / STATE).is_dir() else []:
        if entry.name != UNFINISHED:
            entry.rename(layout.root / entry.name)
    if (fresh / ENV).exists():
        (fresh / ENV).replace(layout.root / "restored.env")


def _servers_and_records(config: Config, layout: Layout, manifest: Manifest) -> None:
    """Fill the database and engage the kill switch, on servers that run for this only."""
    dump = layout.root / "run" / "restoring" / DUMP
    sockets, servers = socket_folder_new(), []
    url, redis_url = config.runtime.database_url, config.runtime.redis_url
    try:
        if not url:
            postgres = EmbeddedPostgres(layout.root / "postgres", sockets, layout.logs / "postgres.log")
            _start(servers, postgres)
            url = postgres.url
        if not redis_url:
            valkey = EmbeddedValkey(layout.root / "valkey", sockets, layout.logs / "valkey.log")
            _start(servers, valkey)
            redis_url = valkey.url
        database_restore(url, dump, own_server=not config.runtime.database_url)
        rows_of(url, SETTLE)
        _engage(layout, url, redis_url, manifest)
    finally:
        for server in servers:
            server.stop()
        shutil.rmtree(sockets, ignore_errors=True)
        shutil.rmtree(dump.parent, ignore_errors=True)


def _start(servers: list[EmbeddedServer], server: EmbeddedServer) -> None:
    servers.append(server)
    server.start()


def _engage(layout: Layout, url: str, redis_url: str, manifest: Manifest) -> None:
    """Engage in a process of its own: only there are the apps, with the restored keys."""
    environment = os.environ | {
        "DATABASE_URL": url, "REDIS_URL": redis_url, "QD_RUNTIME_STATE_DIR": str(layout.root), "QD_PROCESS": "restore",
    }  # fmt: skip
    result = subprocess.run(
        [sys.executable, MANAGE, "restored", "--made-at", manifest.made_at], env=environment, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if result.returncode != 0:
        said = (result.stderr or result.stdout).strip().splitlines()[-1:] or ["it gave no reason"]
        raise StartError(
            f"The kill switch could not be engaged in the restored installation: {said[0]}",
            "mend that, then restore again with --aside; until then `up` refuses this folder.",
        )


def words(path: Path, moved: Path | None, layout: Layout) -> list[str]:
    """Return what a person is told after a restore."""
    manifest: Any = archive_read(path)
    lines = [f"Restored {path.name}, made {manifest.made_at} by version {manifest.quarterdeck}, into {layout.root}."]
    if moved is not None:
        lines.append(f"What was there before lies in {moved}.")
    if (layout.root / "restored.env").exists():
        lines.append(f"Its .env lies in {layout.root / 'restored.env'}: compare it with the one in {ROOT}.")
    lines.append("The kill switch is engaged. Start the stack, look at what the desk found at the venue")
    lines.append("(Operations, reconciliation), then release it: manage.py kill --release.")
    return lines
