"""`manage.py up` as a person meets it: what it starts, what it says when it cannot, that it leaves nothing running."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest
import redis

from tests.stack import ROOT, RunningStack
from trader.runtime.errors import said_last

pytestmark = pytest.mark.stack
NAMES = {"supervisor", "postgres", "valkey", "web", "worker-data", "worker-scanning", "worker-training",
         "worker-execution", "beat"}  # fmt: skip


@pytest.fixture(scope="module")
def stack():
    with RunningStack("--market", "none") as running:
        running.wait(lambda: "open http" in running.output.read_text(), "the web answers", 60)
        yield running


def children(stack: RunningStack) -> list[psutil.Process]:
    pids = [row["pid"] for row in stack.status()["processes"] if row["pid"]]
    processes = [psutil.Process(pid) for pid in pids]
    return processes + [child for process in processes for child in process.children(recursive=True)]


def up_once(tmp_path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    base = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")}
    env = base | {"QD_RUNTIME_STATE_DIR": str(tmp_path / "state"), "QD_RUNTIME_WEB_PORT": "0"} | environment
    command = [sys.executable, "manage.py", "up", "--plain", "--market", "none", *arguments]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=60)


def manage_once(tmp_path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"QD_RUNTIME_STATE_DIR": str(tmp_path / "state")}
    command = [sys.executable, "manage.py", *arguments]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=60)


def test_status_lists_every_process_and_address(stack):
    found = stack.status()
    assert {row["name"] for row in found["processes"]} == NAMES
    assert {"name", "pid", "since", "restarts", "state"} == set(found["processes"][0])
    assert all(row["state"] == "running" for row in found["processes"])
    assert set(found["urls"]) == {"web", "simulator", "control"}
    assert {"quarterdeck", "python", "postgres", "valkey", "settings"} <= set(found["versions"])
    assert found["timings"]["servers"] > 0


def test_residents_are_listed_with_holder_fence_and_lease(stack):
    row = stack.wait(lambda: stack.status()["residents"], "a resident")[0]
    assert {"kind", "key", "holder", "fence", "lease_left_s", "lag_s"} <= set(row)
    assert row["fence"] >= 1
    assert row["lease_left_s"] > 0


def test_a_second_up_says_that_it_runs_already(stack):
    again = stack.manage("up", "--plain", "--market", "none", check=False)
    assert again.returncode == 1
    assert "runs already" in again.stderr
    assert "manage.py down" in again.stderr


def test_a_process_that_dies_is_started_again(stack):
    before = next(row for row in stack.status()["processes"] if row["name"] == "beat")
    os.kill(before["pid"], signal.SIGKILL)

    def again():
        row = next(row for row in stack.status()["processes"] if row["name"] == "beat")
        return row["state"] == "running" and row["pid"] not in (None, before["pid"]) and row

    assert stack.wait(again, "beat runs again")["restarts"] == 1


def test_the_doctor_finds_nothing_bad_and_sends_a_message_through_each_queue(stack):
    stack.wait(
        lambda: {row["name"]: row["state"] for row in stack.status()["processes"]}.get("worker-training") == "running",
        "all workers run",
    )
    result = stack.manage("doctor", "--json", "--wait", "60", check=False)
    found = {row["name"]: row for row in json.loads(result.stdout)}
    assert [row for row in found.values() if row["state"] == "bad"] == []
    assert result.returncode == 0
    for queue in ("data", "scanning", "training", "execution"):
        assert "there and back" in found[f"queue {queue}"]["words"]
    assert found["kill switch all"]["words"] == "clear in all three records"
    assert {"python", "packages", "state folder", "keys", "disk", "clock", "database", "bus", "schema", "backup",
            "relay main", "clock of the database"} <= set(found)  # fmt: skip


def test_keys_are_files_of_mode_600(stack):
    keys = list((stack.folder / "state" / "keys").iterdir())
    assert {"secret.key", "credential.key"} <= {key.name for key in keys}
    assert {key.stat().st_mode & 0o777 for key in keys} == {0o600}


def test_a_busy_port_is_named_with_the_fix(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = up_once(tmp_path, QD_RUNTIME_WEB_PORT=str(port))
    assert result.returncode == 1
    assert f"Port {port}" in result.stderr
    assert "QD_RUNTIME_WEB_PORT" in result.stderr


def test_a_state_folder_that_is_a_file_is_named_with_the_fix(tmp_path):
    (tmp_path / "state").write_text("")
    result = up_once(tmp_path)
    assert result.returncode == 1
    assert "state folder" in result.stderr
    assert "Fix:" in result.stderr


def test_an_empty_key_is_named_with_the_fix_before_anything_starts(tmp_path):
    (tmp_path / "state" / "keys").mkdir(parents=True)
    key = tmp_path / "state" / "keys" / "secret.key"
    key.write_text("")
    result = up_once(tmp_path)
    assert result.returncode == 1
    assert f"The key file {key} is empty" in result.stderr
    assert "Fix: put it back from a backup" in result.stderr
    assert not (tmp_path / "state" / "postgres").exists()


def test_a_damaged_cluster_is_named_with_its_log(tmp_path):
    data = tmp_path / "state" / "postgres"
    data.mkdir(parents=True, mode=0o700)
    (data / "PG_VERSION").write_text("18\n")
    result = up_once(tmp_path)
    assert result.returncode == 1
    assert f"postgres stopped while starting on {data}" in result.stderr
    assert f"Fix: read {tmp_path}/state/logs/postgres.log" in result.stderr
    assert "manage.py restore" in result.stderr


def test_a_database_that_cannot_be_prepared_is_told_with_the_whole_reason(tmp_path):
    """What `up` hands on of the process that prepares it, here of the key that it reads: both lines."""
    (tmp_path / "state" / "keys").mkdir(parents=True)
    (tmp_path / "state" / "keys" / "secret.key").write_text("")
    result = manage_once(tmp_path, "prepare")
    assert result.returncode == 1
    what, fix = said_last(result.stderr).splitlines()
    assert what == f"The key file {tmp_path}/state/keys/secret.key is empty."
    assert fix.strip().startswith("Fix: put it back from a backup")


def test_an_open_address_without_tls_is_refused(tmp_path):
    result = up_once(tmp_path, QD_RUNTIME_BIND_HOST="0.0.0.0")
    assert result.returncode == 1
    assert "QD_BEHIND_PROXY" in result.stderr


def test_a_long_socket_path_is_named_with_the_fix(tmp_path):
    deep = tmp_path / ("x" * 90)
    deep.mkdir()
    result = up_once(tmp_path, TMPDIR=str(deep))
    assert result.returncode == 1
    assert "TMPDIR" in result.stderr


def test_an_unknown_setting_stops_the_start_with_its_name(tmp_path):
    result = up_once(tmp_path, QD_RUNTIME_WEBPORT="1")
    assert result.returncode == 1
    assert "QD_RUNTIME_WEBPORT" in result.stderr
    assert "QD_RUNTIME_WEB_PORT" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--market", "replay"), "--data and --symbols"),
        (("--market", "replay", "--seed", "3"), "--seed: only the synthetic market"),
        (("--market", "synthetic", "--book-share", "0.2"), "--book-share: only a replay"),
        (("--market", "synthetic", "--speed", "0"), "--speed 0: expected a number"),
        (("--market", "replay", "--data", "/tmp", "--symbols", "a=B/C", "--book-share", "2"), "--book-share 2.0"),
    ],
)
def test_wrong_market_options_are_refused_in_words(tmp_path, arguments, words):
    result = up_once(tmp_path, *arguments)
    assert result.returncode == 1
    assert words in result.stderr


def test_a_replay_of_wrong_files_ends_with_what_is_wrong_with_them(tmp_path):
    (tmp_path / "bad.csv").write_text("ts,open,high,low,volume\n1704067200,1,1,1,1\n")
    result = up_once(
        tmp_path, "--market", "replay", "--data", str(tmp_path), "--symbols", "bad=BTC/USDT",
        QD_RUNTIME_SIMULATOR_PORT="0", QD_RUNTIME_CONTROL_PORT="0",
    )  # fmt: skip
    assert result.returncode == 1
    assert "The simulator refuses to run" in result.stderr
    assert "close" in result.stderr
    assert "Fix:" in result.stderr


def test_an_address_that_is_not_this_machines_is_told_from_a_busy_port(tmp_path):
    result = up_once(tmp_path, QD_RUNTIME_BIND_HOST="192.0.2.1", QD_BEHIND_PROXY="1")
    assert result.returncode == 1
    assert "QD_RUNTIME_BIND_HOST" in result.stderr
    assert "busy" not in result.stderr


@pytest.mark.parametrize(
    ("variable", "address"),
    [("DATABASE_URL", "postgresql://me:hidden@127.0.0.1:1/x"), ("REDIS_URL", "redis://:hidden@127.0.0.1:1/0")],
)
def test_a_given_server_that_does_not_answer_is_named_without_its_password(tmp_path, variable, address):
    result = up_once(tmp_path, **{variable: address})
    assert result.returncode == 1
    assert variable in result.stderr
    assert "hidden" not in result.stderr
    assert "Traceback" not in result.stderr


def test_down_where_nothing_runs_says_so(tmp_path):
    result = manage_once(tmp_path, "down")
    assert result.returncode == 0
    assert "Nothing runs" in result.stdout


def test_the_link_that_signs_in_is_in_no_log(stack):
    link = stack.output.read_text().partition("/sign-in/link/#")[2].split()[0]
    logs = list((stack.folder / "state" / "logs").iterdir())
    assert link
    assert [log.name for log in logs if link in log.read_text(errors="replace")] == []


def test_servers_that_are_killed_are_started_again_with_their_data(stack):
    stack.query("create table kept (n int)")
    stack.query("insert into kept select generate_series(1, 100)")
    with redis.Redis.from_url(stack.servers()["redis_url"]) as client:
        client.set("kept", "1")
        assert client.execute_command("WAITAOF", 1, 0, 10_000)[0] == 1  # it is on disk
    before = {row["name"]: row["pid"] for row in stack.status()["processes"]}
    for name in ("postgres", "valkey"):
        os.kill(before[name], signal.SIGKILL)

    def again() -> dict[str, int] | None:
        rows = {row["name"]: row for row in stack.status()["processes"] if row["name"] in ("postgres", "valkey")}
        new = all(row["state"] == "running" and row["pid"] != before[name] for name, row in rows.items())
        return {name: row["restarts"] for name, row in rows.items()} if new else None

    restarts = stack.wait(again, "both servers run again")
    assert set(restarts) == {"postgres", "valkey"}
    assert min(restarts.values()) >= 1
    assert stack.wait(lambda: stack.query("select count(*) from kept"), "the database answers") == [(100,)]
    stack.query("drop table kept")
    with redis.Redis.from_url(stack.servers()["redis_url"]) as client:
        assert stack.wait(lambda: answer(client), "the bus answers") == b"1"


def answer(client: redis.Redis) -> bytes | None:
    try:
        return client.get("kept")
    except redis.RedisError:
        return None


# the last two end the module's stack


def test_ctrl_c_stops_everything_within_ten_seconds_and_leaves_nothing(stack):
    ours = children(stack)
    assert stack.stop() < 10
    deadline = time.monotonic() + 2
    while any(process.is_running() for process in ours) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [process.pid for process in ours if process.is_running()] == []
    assert not (stack.folder / "state" / "run" / "stack.json").exists()


def test_a_killed_supervisor_leaves_nothing_and_the_next_up_starts(stack):
    stack.output.write_text("")
    stack.start()
    stack.wait(lambda: "open http" in stack.output.read_text(), "the web answers", 60)
    ours = children(stack)
    stack.process.kill()
    stack.process.wait()
    if sys.platform == "linux":
        gone, alive = psutil.wait_procs([p for p in ours if p.pid != stack.process.pid], timeout=15)
        assert [process.cmdline() for process in alive] == []
        assert gone
    stack.output.write_text("")
    stack.start()
    stack.wait(lambda: "open http" in stack.output.read_text(), "the web answers again", 60)
    assert json.loads(stack.manage("status", "--json").stdout)["running"]
