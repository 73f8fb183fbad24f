"""A whole stack of its own for a test: `manage.py up` in a scratch folder, on free ports, stopped by id."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg

from tests.kernels import state_with_kernels

ROOT = Path(__file__).resolve().parents[1]
FREE_PORTS = {"QD_RUNTIME_WEB_PORT": "0", "QD_RUNTIME_SIMULATOR_PORT": "0", "QD_RUNTIME_CONTROL_PORT": "0"}


class RunningStack:
    """`with RunningStack("--market", "synthetic") as stack:`; the folder goes at the end unless `keep` is set."""

    def __init__(self, *arguments: str, folder: Path | None = None, **environment: str) -> None:
        self.arguments = arguments
        self.folder = folder or Path(tempfile.mkdtemp(prefix="qds-"))
        state_with_kernels(self.folder / "state")
        self._keep = folder is not None
        left_out = ("DATABASE_URL", "REDIS_URL")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
        self.environment = inherited | FREE_PORTS | environment | {"QD_RUNTIME_STATE_DIR": str(self.folder / "state")}
        self.process: subprocess.Popen[str] | None = None
        self.output = self.folder / "up.log"

    def __enter__(self) -> "RunningStack":
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()
        if not self._keep:
            shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> None:
        """Start `up`; does not wait for anything."""
        with self.output.open("a") as output:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "up", "--plain", *self.arguments],
                cwd=ROOT, env=self.environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                text=True, start_new_session=True,
            )  # fmt: skip

    def stop(self, timeout_s: float = 30.0) -> float:
        """Ask it to stop as Ctrl-C does; return how long it took, in seconds."""
        if self.process is None or self.process.poll() is not None:
            return 0.0
        began = time.monotonic()
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
            raise
        return time.monotonic() - began

    def status(self) -> dict[str, Any]:
        """Return what `manage.py status --json` says."""
        return dict(json.loads(self.manage("status", "--json").stdout))

    def manage(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command of `manage.py` against this stack."""
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT, env=self.environment, capture_output=True, text=True, check=check, timeout=120,
        )  # fmt: skip

    def servers(self) -> dict[str, str]:
        """Return the addresses of the embedded servers."""
        return dict(json.loads((self.folder / "state" / "run" / "servers.json").read_text()))

    def query(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Ask the stack's database."""
        with psycopg.connect(self.servers()["database_url"], connect_timeout=5, autocommit=True) as connection:
            cursor = connection.execute(sql, values or None)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []

    def wait(self, condition: Callable[[], Any], what: str, timeout_s: float = 60.0, every_s: float = 0.2) -> Any:
        """Return the first true answer of `condition`; fail with the stack's own words when it takes too long."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self.process is not None and self.process.poll() is not None:
                raise AssertionError(f"the stack stopped while waiting: {what}\n{self.words()}")
            try:
                if answer := condition():
                    return answer
            except (OSError, psycopg.Error, subprocess.CalledProcessError, ValueError, KeyError):
                pass
            time.sleep(every_s)
        raise AssertionError(f"not within {timeout_s:.0f} s: {what}\n{self.words()}")

    def wait_ready(self, timeout_s: float = 60.0) -> None:
        """Wait until feed and desk trade and the web answers."""
        self.wait(lambda: "started:" in self.output.read_text(), "first price", timeout_s)

    def words(self) -> str:
        """Return the end of every log, for a failing test."""
        logs = sorted((self.folder / "state" / "logs").glob("*.out.log"))
        parts = [f"== up\n{self.output.read_text()[-1500:]}"]
        return "\n".join(parts + [f"== {log.name}\n{log.read_text(errors='replace')[-1500:]}" for log in logs])

    def control(self) -> tuple[str, str]:
        """Return the simulator's control address and its token."""
        url = self.status()["urls"]["control"]
        token = next((self.folder / "state" / "simulator").glob("*/control.token")).read_text().strip()
        return url, token

    def ledger(self, kind: str) -> list[dict[str, Any]]:
        """Return the simulator's ledger of one kind: request, order, fill, cancel, frame."""
        import urllib.request

        url, token = self.control()
        request = urllib.request.Request(
            f"{url}/ledger?kind={kind}&since=0", headers={"Authorization": f"Bearer {token}"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return [json.loads(line) for line in answer.read().splitlines() if line.strip()]
