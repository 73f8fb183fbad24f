"""The embedded servers start, survive kill -9 with their data, and say in words what is wrong."""

import os
import signal
from pathlib import Path

import psycopg
import pytest
import redis

from trader.runtime.errors import StartError
from trader.runtime.servers import EmbeddedPostgres, EmbeddedValkey, StateLock, socket_folder_check, socket_folder_new


@pytest.fixture
def sockets():
    folder = socket_folder_new()
    yield folder
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


def test_postgres_keeps_committed_rows_through_kill_minus_nine(tmp_path, sockets):
    server = EmbeddedPostgres(tmp_path / "pg", sockets, tmp_path / "pg.log")
    server.start()
    try:
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("create table kept (n int)")
            connection.execute("insert into kept select generate_series(1, 100)")
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait()
        server.start()
        with psycopg.connect(server.url) as connection:
            assert connection.execute("select count(*) from kept").fetchone() == (100,)
    finally:
        server.stop()
    assert not server.is_alive()


def test_valkey_keeps_its_data_through_a_stop(tmp_path, sockets):
    server = EmbeddedValkey(tmp_path / "valkey", sockets, tmp_path / "valkey.log")
    server.start()
    client = redis.Redis(unix_socket_path=str(server.path))
    client.set("kept", "1")
    client.close()
    server.stop()
    server.start()
    try:
        client = redis.Redis(unix_socket_path=str(server.path))
        assert client.get("kept") == b"1"
        client.close()
    finally:
        server.stop()


def test_a_cluster_of_another_version_is_refused_with_the_fix(tmp_path, sockets):
    data = tmp_path / "pg"
    data.mkdir()
    (data / "PG_VERSION").write_text("15\n")
    with pytest.raises(StartError, match=r"made by PostgreSQL 15(.|\n)*not opened(.|\n)*manage.py upgrade-database"):
        EmbeddedPostgres(data, sockets, tmp_path / "pg.log").start()


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path, sockets):
    data = tmp_path / "pg"
    data.mkdir()
    (data / "mine.txt").write_text("keep")
    with pytest.raises(StartError, match="no PostgreSQL cluster"):
        EmbeddedPostgres(data, sockets, tmp_path / "pg.log").start()
    assert (data / "mine.txt").read_text() == "keep"


def test_a_damaged_cluster_is_named_with_its_log_and_the_way_back(tmp_path, sockets):
    data, log = tmp_path / "pg", tmp_path / "pg.log"
    data.mkdir(mode=0o700)
    (data / "PG_VERSION").write_text("18\n")  # all else is gone
    with pytest.raises(StartError) as error:
        EmbeddedPostgres(data, sockets, log).start()
    assert f"postgres stopped while starting on {data}. It said: " in error.value.what
    assert log.read_text().strip().splitlines()[-1] in error.value.what
    assert f"read {log}" in error.value.fix
    assert "manage.py restore" in error.value.fix


def test_damaged_files_of_valkey_are_named_with_its_log_and_the_fix_helps(tmp_path, sockets):
    server = EmbeddedValkey(tmp_path / "valkey", sockets, tmp_path / "valkey.log")
    (server.data / "appendonlydir").mkdir(parents=True)
    (server.data / "appendonlydir" / "appendonly.aof.manifest").write_text("no manifest\n")
    with pytest.raises(StartError) as error:
        server.start()
    assert f"valkey stopped while starting on {server.data}. It said: " in error.value.what
    assert f"read {server.log}" in error.value.fix
    assert f"mv {server.data} {server.data}.broken" in error.value.fix
    server.data.rename(f"{server.data}.broken")
    server.start()
    server.stop()


def test_a_socket_path_that_is_too_long_is_refused_with_the_fix():
    with pytest.raises(StartError, match=r"93 fit(.|\n)*TMPDIR"):
        socket_folder_check(Path("/tmp") / ("x" * 100))


def test_a_second_stack_on_the_same_folder_is_told_that_it_runs(tmp_path):
    first = StateLock(tmp_path)
    first.acquire()
    with pytest.raises(StartError, match=rf"runs already(.|\n)*process {os.getpid()}"):
        StateLock(tmp_path).acquire()
    first.release()
    second = StateLock(tmp_path)
    second.acquire()
    second.release()
