"""A backup restored into an empty folder trades on: killed first, what the venue did since adopted, then released."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kernels import state_with_kernels
from tests.reliability.floor import FALLS, Floor
from tests.stack import ROOT
from trader.runtime.servers import EmbeddedPostgres, EmbeddedValkey

pytestmark = pytest.mark.stack
RELEASE = "from apps.risk.services import kill_release_sync; kill_release_sync('all', 'tester', 'looked at it')"


class MovedFloor(Floor):
    """A floor whose second life is another state folder, with embedded servers of that folder."""

    state_name = "state"

    @property
    def environment(self) -> dict[str, str]:
        return {**super().environment, "QD_RUNTIME_STATE_DIR": str(self.folder / self.state_name)}

    def stop_all(self) -> None:
        """Lose the first life's processes and servers, as with the machine."""
        for process in self.workers:
            process.send_signal(signal.SIGKILL)
            process.wait(10)
        for server in (self.valkey, self.postgres):
            server.process.kill()
            server.process.wait(10)

    def restore(self, backup: Path) -> str:
        """Restore into a folder that is not there yet; nothing but the backup is at hand."""
        self.state_name = "state2"
        kept = {name: text for name, text in self.environment.items() if name not in ("DATABASE_URL", "REDIS_URL")}
        shutil.rmtree(self.folder / "state")
        done = subprocess.run(
            [sys.executable, "manage.py", "restore", str(backup)], cwd=ROOT, env=kept, capture_output=True, text=True,
            check=False, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        state = self.folder / "state2"
        self.postgres = EmbeddedPostgres(state / "postgres", self.folder / "s", self.folder / "pg2.log")
        self.valkey = EmbeddedValkey(state / "valkey", self.folder / "s", self.folder / "valkey2.log")
        self.postgres.start()
        self.valkey.start()
        return done.stdout


def test_restored_into_an_empty_folder_it_adopts_what_the_venue_did_since_and_trades_on() -> None:
    with MovedFloor() as floor:
        floor.desk_start()
        floor.run_to(FALLS[0] - 1)
        install = floor.query("SELECT prefix FROM execution_install")
        backup = floor.folder / "b.tar"
        said = floor.manage("backup", "--to", str(backup)).stdout
        assert "read back whole" in said
        secret = (floor.folder / "state" / "keys" / "secret.key").read_text()
        # after the backup it buys: the order, its fill and its stop are in no backup
        floor.fall_until(lambda: floor.query("SELECT 1 FROM execution_fill") and floor.is_calm(), "bought, with a stop")
        fills = floor.exchange.ledger("fill")
        assert fills
        floor.stop_all()

        assert "The kill switch is engaged" in floor.restore(backup)
        assert (floor.folder / "state2" / "keys" / "secret.key").read_text() == secret
        assert floor.query("SELECT prefix FROM execution_install") == install
        assert floor.query("SELECT 1 FROM execution_fill") == []
        assert floor.query("SELECT state FROM risk_killrecord WHERE scope = 'all'") == [("engaged",)]
        state_with_kernels(floor.folder / "state2")
        floor.manage("prepare", "--options", json.dumps(floor.exchange.seed_options()))
        floor.worker("data")
        floor.desk_start()
        floor.until(lambda: floor.desk_state() == "killed", "the desk obeys the engaged kill switch")
        floor.until(
            lambda: len(floor.query("SELECT 1 FROM execution_fill WHERE owner = 'unattributed'")) == len(fills),
            "the fills since the backup are booked",
        )
        adopted = floor.query("SELECT leg, state FROM execution_order WHERE origin = 'adopted' AND kind = 'stop'")
        assert adopted == [("stop", "acknowledged")]
        floor.prove()
        requests = len(floor.entry_requests())

        floor.manage("shell", "-c", RELEASE)
        floor.until(lambda: floor.desk_state() == "trading", "the desk trades again")
        # the next fall is the next one that is bought
        floor.run_to(next(fall for fall in FALLS if fall > floor.fell) - 1)
        floor.minute += 1
        floor.exchange.run_to(floor.minute)
        floor.until(lambda: len(floor.entry_requests()) > requests, "it buys again")
        floor.until(
            lambda: floor.query("SELECT 1 FROM execution_fill WHERE owner <> 'unattributed'"), "the new fill is booked"
        )
        floor.prove()
