"""A backup is one whole file or none; a restore writes over nothing and leaves the kill switch engaged."""

import json
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import psycopg
import pytest

from tests.stack import ROOT
from trader.config import load
from trader.runtime.archive import archive_extract, archive_read, archive_verify, archive_write
from trader.runtime.aside import fresh, unfinished_mark
from trader.runtime.backup import _forget, backup_make, sqlite_copy, tree_copy
from trader.runtime.errors import StartError
from trader.runtime.layout import Layout
from trader.runtime.restore import restore
from trader.runtime.servers import EmbeddedPostgres, postgres_bin, socket_folder_new
from trader.runtime.upgrade import cluster_rebuild, database_upgrade

ABOUT = {"made_at": "2026-01-01T00:00:00Z", "quarterdeck": "0", "postgres": "18", "migrations": ["common.0001_initial"]}
TABLES = """
create table django_migrations (app text, name text);
insert into django_migrations values ('common', '0001_initial');
create table common_lease (kind text, key text, holder text, fence bigint, expires_at timestamptz, meta jsonb);
insert into common_lease values ('desk', '1', 'gone', 4, now() + interval '9 s', '{}');
create table execution_deskcommand (id int, state text, done_at timestamptz, result text);
insert into execution_deskcommand values (1, 'new', null, ''), (2, 'done', now(), 'done');
create table portfolio_account (id int, name text, is_live bool);
create table execution_order (id int, account_id int, state text);
create table portfolio_position (account_id int, instrument_id int, quantity numeric);
"""


@pytest.fixture
def staged(tmp_path):
    folder = tmp_path / "staged"
    (folder / "state" / "keys").mkdir(parents=True)
    (folder / "state" / "keys" / "secret.key").write_text("hidden")
    (folder / "database.dump").write_bytes(b"rows" * 500_000)
    return folder


def config_of(folder: Path, **environment: str):
    return load({"QD_RUNTIME_STATE_DIR": str(folder), **environment}, root=folder)


def test_what_was_put_in_comes_out_with_its_mode(tmp_path, staged):
    made = archive_write(tmp_path / "b.tar", staged, ABOUT)
    assert set(made.files) == {"state/keys/secret.key", "database.dump"}
    assert (tmp_path / "b.tar").stat().st_mode & 0o777 == 0o600
    archive_extract(tmp_path / "b.tar", tmp_path / "out")
    assert (tmp_path / "out" / "state/keys/secret.key").read_text() == "hidden"
    assert (tmp_path / "out" / "state/keys/secret.key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "out" / "database.dump").read_bytes() == b"rows" * 500_000
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "out").rglob("*") if path.is_dir()} == {0o700}


@pytest.mark.parametrize("at", [0.3, 0.6, 0.999])
def test_a_file_cut_short_is_no_whole_backup(tmp_path, staged, at):
    path = tmp_path / "b.tar"
    archive_write(path, staged, ABOUT)
    end = sum(row["bytes"] for row in archive_read(path).files.values())
    path.write_bytes(path.read_bytes()[: int(end * at)])
    with pytest.raises(StartError, match="no whole backup"):
        archive_verify(path)


def test_a_changed_byte_is_named_by_its_file(tmp_path, staged):
    path = tmp_path / "b.tar"
    archive_write(path, staged, ABOUT)
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"hidden")] ^= 1
    path.write_bytes(raw)
    with pytest.raises(StartError, match=r"state/keys/secret\.key does not fit its checksum"):
        archive_verify(path)


def test_a_path_out_of_the_folder_is_refused(tmp_path, staged):
    path = tmp_path / "b.tar"
    archive_write(path, staged, ABOUT)
    with tarfile.open(path, "a") as tar:
        tar.add(staged / "database.dump", arcname="../escaped")
    with pytest.raises(StartError, match="escaped"):
        archive_extract(path, tmp_path / "out")
    assert not (tmp_path / "escaped").exists()


@pytest.mark.parametrize("text", [b"", b"no tar at all" * 100])
def test_what_is_no_backup_is_said_to_be_none(tmp_path, text):
    (tmp_path / "b.tar").write_bytes(text)
    with pytest.raises(StartError, match="no whole backup"):
        archive_verify(tmp_path / "b.tar")


def test_a_sqlite_file_is_copied_at_one_moment_while_it_is_written(tmp_path):
    source = tmp_path / "exchange.sqlite"
    writer = sqlite3.connect(source, isolation_level=None, check_same_thread=False)
    writer.execute("PRAGMA journal_mode=WAL")
    writer.executescript("create table a (n int); create table b (n int);")
    stop = threading.Event()

    def write() -> None:
        n = 0
        while not stop.is_set():
            writer.execute("begin immediate")
            writer.execute("insert into a values (?)", (n,))
            writer.execute("insert into b values (?)", (n,))
            writer.execute("commit")
            n += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        while writer.total_changes < 200:
            pass
        sqlite_copy(source, tmp_path / "copy.sqlite")
    finally:
        stop.set()
        thread.join()
        writer.close()
    assert [path.name for path in tmp_path.glob("copy*")] == ["copy.sqlite"]
    with sqlite3.connect(tmp_path / "copy.sqlite") as copy:
        (a, b) = copy.execute("select (select count(*) from a), (select count(*) from b)").fetchone()
        assert a == b >= 50
        assert copy.execute("pragma integrity_check").fetchone() == ("ok",)


def test_only_the_newest_nightly_backups_stay_and_others_files_are_left_alone(tmp_path):
    names = [f"quarterdeck-2026010{day}T030000Z.tar" for day in range(1, 6)]
    for name in [*names, "mine.tar", "quarterdeck-before-the-move.tar"]:
        (tmp_path / name).write_text("")
    assert [path.name for path in _forget(tmp_path, 2)] == names[:3]
    assert {path.name for path in tmp_path.iterdir()} == {*names[3:], "mine.tar", "quarterdeck-before-the-move.tar"}


def test_sockets_locks_and_links_are_not_copied(tmp_path):
    source = tmp_path / "source"
    (source / "kill").mkdir(parents=True)
    for name in ("kill.json", "kill.lock", "kill.7.new"):
        (source / "kill" / name).write_text(name)
    (source / "link").symlink_to(tmp_path)
    tree_copy(source, tmp_path / "copy")
    assert [str(path.relative_to(tmp_path / "copy")) for path in (tmp_path / "copy").rglob("*.*")] == ["kill/kill.json"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A stopped installation with a small database, made once."""
    root = tmp_path_factory.mktemp("made") / "state"
    Layout(root).prepare()
    (root / "keys").mkdir(mode=0o700)
    (root / "keys" / "secret.key").write_text("hidden")
    sockets = socket_folder_new()
    server = EmbeddedPostgres(root / "postgres", sockets, root / "pg.log")
    server.start()
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(TABLES)
    server.stop()
    sockets.rmdir()
    return root


@pytest.fixture
def cluster(tmp_path, made):
    """A copy of it; `sql` runs on its embedded server."""
    root = tmp_path / "state"
    shutil.copytree(made, root)

    def sql(text: str, folder: Path = root):
        sockets = socket_folder_new()
        server = EmbeddedPostgres(folder / "postgres", sockets, tmp_path / "pg.log")
        server.start()
        try:
            with psycopg.connect(server.url, autocommit=True) as connection:
                cursor = connection.execute(text)
                return cursor.fetchall() if cursor.description else []
        finally:
            server.stop()
            sockets.rmdir()

    return root, sql


def test_a_stopped_installation_is_backed_up_and_never_restored_over_another(cluster):
    root, sql = cluster
    made = backup_make(config_of(root))
    assert made.path.parent == root / "backups"
    assert made.manifest.migrations == ["common.0001_initial"]
    with pytest.raises(StartError, match=r"not empty(.|\n)*--aside"):
        restore(config_of(root), made.path, aside=False)
    assert sql("select count(*) from execution_deskcommand") == [(2,)]


def test_a_backup_of_a_later_version_is_refused_before_anything_is_touched(cluster, tmp_path):
    root, sql = cluster
    sql("insert into django_migrations values ('common', '0999_later')")
    made = backup_make(config_of(root))
    with pytest.raises(StartError, match=r"common\.0999_later"):
        restore(config_of(tmp_path / "other"), made.path, aside=False)
    assert not (tmp_path / "other").exists()


def test_a_database_of_another_version_is_brought_over_and_the_old_one_kept(cluster):
    root, sql = cluster
    inode = (root / "postgres").stat().st_ino
    kept = cluster_rebuild(Layout(root), postgres_bin())  # the same version: the same way
    assert kept.stat().st_ino == inode
    assert (root / "postgres").stat().st_ino != inode
    assert sql("select id, state from execution_deskcommand order by 1") == [(1, "new"), (2, "done")]
    assert not (root / "unfinished").exists()


def test_it_is_never_opened_by_other_programs_than_its_own(cluster):
    root, _ = cluster
    (root / "postgres" / "PG_VERSION").write_text("17\n")
    before = sorted((path, path.stat().st_mtime_ns) for path in (root / "postgres").rglob("*"))
    with pytest.raises(StartError, match=r"made by PostgreSQL 17, and .* holds 18"):
        database_upgrade(config_of(root), postgres_bin())
    with pytest.raises(StartError, match=r"PostgreSQL 17 .*not on this machine(.|\n)*--old-bin"):
        database_upgrade(config_of(root), None)
    assert sorted((path, path.stat().st_mtime_ns) for path in (root / "postgres").rglob("*")) == before


def test_beginning_anew_is_refused_while_a_live_account_is_at_work_unless_named(cluster):
    root, sql = cluster
    sql(
        "insert into portfolio_account values (1, 'real', true), (2, 'toy', false);"
        "insert into execution_order values (1, 1, 'acknowledged'), (2, 2, 'acknowledged'), (3, 1, 'filled');"
        "insert into portfolio_position values (1, 7, 0.5), (2, 7, 1)"
    )
    layout = Layout(root)
    with pytest.raises(StartError, match=r"'real' has 1 open orders and 1 open positions(.|\n)*--abandon 'real'"):
        fresh(config_of(root), layout, ["toy"])
    assert (root / "postgres").exists()
    moved = fresh(config_of(root), layout, ["real"])
    assert {path.name for path in moved.iterdir()} >= {"postgres", "keys"}
    assert not (root / "postgres").exists()
    assert not (root / "keys").exists()


def test_beginning_anew_asks_for_a_word_when_the_state_cannot_be_read(cluster):
    root, _ = cluster
    (root / "postgres" / "PG_VERSION").write_text("17\n")
    with pytest.raises(StartError, match=r"cannot be read(.|\n)*--abandon unreadable"):
        fresh(config_of(root), Layout(root), [])
    assert fresh(config_of(root), Layout(root), ["unreadable"]) is not None


def test_a_servers_own_database_is_not_moved_aside(tmp_path):
    with pytest.raises(StartError, match="DATABASE_URL"):
        fresh(config_of(tmp_path, DATABASE_URL="postgresql://x/y"), Layout(tmp_path), [])


def test_up_refuses_a_folder_in_which_something_was_left_half_done(tmp_path, monkeypatch):
    Layout(tmp_path).prepare()
    unfinished_mark(Layout(tmp_path), "A restore", "do it again")
    command = [sys.executable, "manage.py", "up", "--plain", "--market", "none"]
    result = subprocess.run(
        command, cwd=ROOT, env=environment_of(tmp_path), capture_output=True, text=True, check=False, timeout=60
    )
    assert result.returncode == 1
    assert "A restore did not come to its end" in result.stderr
    assert "Fix: do it again" in result.stderr


def environment_of(folder: Path) -> dict[str, str]:
    import os

    kept = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")}
    return kept | {"QD_RUNTIME_STATE_DIR": str(folder), "QD_RUNTIME_WEB_PORT": "0"}


def test_the_commands_say_what_is_wrong_without_a_traceback(tmp_path):
    (tmp_path / "b.tar").write_text(json.dumps({}))
    for arguments, words in (
        (["restore", str(tmp_path / "none.tar")], "cannot be read"),
        (["backup", "--verify", str(tmp_path / "b.tar")], "no whole backup"),
        (["backup"], "There is no database"),
    ):
        result = subprocess.run(
            [sys.executable, "manage.py", *arguments], cwd=ROOT, env=environment_of(tmp_path / "state"),
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert result.returncode == 1, result.stderr
        assert words in result.stderr
        assert "Traceback" not in result.stderr
