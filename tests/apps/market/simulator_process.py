"""The simulated exchange as a process of its own, as `up` starts it."""

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
START_S = 30.0


class SimulatorProcess:
    """Addresses, and the market's controls."""

    def __init__(self, folder: Path, process: subprocess.Popen) -> None:
        self.folder, self.process = folder, process
        addresses = json.loads((folder / "ready.json").read_text())
        self.rest, self.socket, self.control = addresses["rest"], addresses["socket"], addresses["control"]

    def seed_options(self, market: dict) -> dict:
        """Return what `prepare` would hand to the seeds."""
        simulator = {
            "rest_url": self.rest,
            "socket_url": self.socket,
            "control_url": self.control,
            "state_root": str(self.folder.parent),
        }
        return {"market": market, "simulator": simulator}

    def market(self, **body) -> dict:
        """Move the market."""
        return self._call("/market", body)

    def clock(self) -> dict:
        """Return the market's clock."""
        return self._call("/clock", None)

    def fault(self, **body) -> dict:
        """Plant a fault."""
        return self._call("/faults", body)

    def klines(self, category: str, symbol: str, start_ns: int, end_ns: int) -> list[list[str]]:
        """Return the venue's minutes of open time in `[start_ns, end_ns)`, oldest first."""
        span = f"start={start_ns // 1_000_000}&end={end_ns // 1_000_000 - 1}&limit=1000"
        url = f"{self.rest}/v5/market/kline?category={category}&symbol={symbol}&interval=1&{span}"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return json.loads(answer.read())["result"]["list"][::-1]

    def _call(self, path: str, body: dict | None) -> dict:
        request = urllib.request.Request(
            self.control + path,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {(self.folder / 'control.token').read_text().strip()}"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or b"{}")


@contextmanager
def simulator_running(folder: Path, *options: str) -> Iterator[SimulatorProcess]:
    """Run `manage.py simulate` until the block ends."""
    command = [sys.executable, "manage.py", "simulate", "--port", "0", "--control-port", "0", "--state", str(folder)]
    command += ["--key", "k", "--secret", "s", "--limits", "off", *options]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + START_S
        while not (folder / "ready.json").exists():
            assert process.poll() is None, f"the simulator ended with {process.returncode}"
            assert time.monotonic() < deadline, "the simulator did not listen in time"
            time.sleep(0.05)
        yield SimulatorProcess(folder, process)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)
