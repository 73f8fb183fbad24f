"""Two hosts, two webs, one database and one bus: residents spread, a host dies, its leases move, nothing is lost."""

import json
import shutil
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.kernels import state_with_kernels
from tests.reliability.floor import Floor
from tests.reliability.hosts import COMMON, Forwarder, Host, common_address, namespaces_work

pytestmark = pytest.mark.stack
ACCOUNTS = """
import json, secrets
from pathlib import Path
from apps.market.models import Epoch
from apps.portfolio.models import Account
from apps.portfolio.seed import keys_write
from apps.portfolio.services import account_for_epoch, credential_set
epoch = Epoch.objects.get(pk={epoch})
for name in ("second", "third", "fourth"):
    account = account_for_epoch(epoch=epoch, name=name, trading_enabled=True, is_active=False)
    key, secret = secrets.token_hex(10), secrets.token_urlsafe(32)
    credential_set(account=account, api_key=key, api_secret=secret, by="tester")
    keys_write(Path({folder!r}) / "keys.json", key, secret)
Account.objects.update(is_active=False)  # until both hosts are there
"""


class Hosts(Floor):
    """A floor whose workers run on hosts; four accounts, so that there are desks to spread."""

    def __enter__(self) -> "Hosts":
        try:
            state_with_kernels(self.folder / "state")
            self.own_network = namespaces_work()
            self.postgres.start()
            self.valkey.start()
            self.forwarders: list[Forwarder] = []
            if self.own_network:
                common_address(True)
            self.hosts = [Host(number, self.folder, {}, self.own_network) for number in (1, 2)]
            options = json.dumps(self.exchange.seed_options())
            if self.own_network:
                options = options.replace("127.0.0.1", COMMON)
                self.forwarders += [Forwarder((COMMON, port), ("127.0.0.1", port)) for port in self.exchange.ports]
            self.found = json.loads(self.manage("prepare", "--options", options).stdout.splitlines()[-1])
            state = self.found["simulator_state_dir"]
            self.manage("shell", "-c", ACCOUNTS.format(epoch=self.found["epoch_id"], folder=state))
            self.exchange.start(Path(state))
            for host in self.hosts:
                self._connect(host)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        for host in getattr(self, "hosts", []):
            host.close()
        for forwarder in getattr(self, "forwarders", []):
            forwarder.close()
        if getattr(self, "own_network", False):
            common_address(False)
        super().__exit__(*error)

    def _connect(self, host: Host) -> None:
        """Give a host its keys and the servers' addresses, as they are from its network."""
        ports = {}
        for name, path in (("pg", self.folder / "s" / ".s.PGSQL.5432"), ("bus", self.valkey.path)):
            forwarder = Forwarder((host.outside, 0), str(path))
            self.forwarders.append(forwarder)
            ports[name] = forwarder.port
        host.environment = self.environment | host.environment | {
            "DATABASE_URL": f"postgresql://quarterdeck@{host.outside}:{ports['pg']}/quarterdeck",
            "REDIS_URL": f"redis://{host.outside}:{ports['bus']}/0",
            "QD_RUNTIME_BIND_HOST": host.address, "QD_BEHIND_PROXY": "1",
            "QD_RUNTIME_ALLOWED_HOSTS": host.address,
            "QD_RUNTIME_WEB_PORT": str(18_800 + host.number),
        }  # fmt: skip
        state = Path(host.environment["QD_RUNTIME_STATE_DIR"])
        shutil.copytree(self.folder / "state" / "keys", state / "keys")
        state_with_kernels(state)

    def leases(self) -> dict[tuple[str, str], tuple[str, int]]:
        """Return who holds each lease that is held, and its fence, all as of one moment."""
        rows = self.query(
            "SELECT kind, key, holder, fence FROM common_lease WHERE holder <> '' AND expires_at > clock_timestamp()"
        )
        return {(kind, key): (holder, fence) for kind, key, holder, fence in rows}

    def host_of(self, holder: str) -> int:
        """Return the number of the host on which a holder runs, by its process; 0 for none of them."""
        pid = int(holder.split(":")[1])
        numbers = [host.number for host in self.hosts for process in host.processes.values() if pid in _family(process)]
        assert len(numbers) <= 1, f"process {pid} on hosts {numbers}"
        return numbers[0] if numbers else 0

    def holders(self) -> dict[tuple[str, str], int]:
        """Return which host holds each lease."""
        return {name: self.host_of(holder) for name, (holder, _) in self.leases().items()}

    def all_on(self, host: Host, wanted: int) -> dict[tuple[str, str], tuple[str, int]] | None:
        """Return the leases of one moment, once that many are held and a host holds them all."""
        found = self.leases()
        is_so = len(found) == wanted and {self.host_of(holder) for holder, _ in found.values()} == {host.number}
        return found if is_so else None

    def desk_state_of(self, key: str) -> str:
        """Return what the desk of one account says of itself."""
        rows = self.query(
            "SELECT meta->>'state' FROM common_lease WHERE kind = 'desk' AND key = %s AND expires_at > now()", key
        )
        return str(rows[0][0]) if rows else ""

    def desk_state(self) -> str:
        return self.desk_state_of(str(self.found["account_id"]))

    def _books_equal(self) -> bool:
        wallets = self.exchange.call("GET", "/state")["accounts"][0]["wallets"]
        own = self.found["account_id"]
        cash = self.query("SELECT amount FROM portfolio_cashbalance WHERE currency = 'USDT' AND account_id = %s", own)
        held = self.query("SELECT coalesce(sum(quantity), 0) FROM portfolio_position")
        return (
            abs(float(cash[0][0]) - float(wallets["USDT"])) < 1e-6
            and abs(float(held[0][0]) - float(wallets.get("BTC", 0))) < 1e-12
        )

    def ready(self, host: Host) -> dict[str, Any]:
        """Return what a host's web says of itself."""
        url = f"http://{host.address}:{host.environment['QD_RUNTIME_WEB_PORT']}/readyz"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return dict(json.loads(answer.read()))


def _family(process: Any) -> list[int]:
    import psutil

    try:
        found = psutil.Process(process.pid)
        return [process.pid, *(child.pid for child in found.children(recursive=True))]
    except psutil.Error:
        return [process.pid]


def test_residents_spread_over_hosts_and_move_when_one_dies_and_nothing_is_lost() -> None:
    with Hosts() as floor:
        one, two = floor.hosts
        for name in ("worker-execution", "worker-data", "web"):
            for host in (one, two):
                host.start(name)
        floor.until(lambda: one.is_up("worker-execution") and two.is_up("worker-execution"), "both hosts are up")
        floor.query("UPDATE portfolio_account SET is_active = true")
        wanted = 1 + 1 + 4  # the relay, the feed, four desks
        floor.until(lambda: len(floor.holders()) == wanted, "every resident runs somewhere")
        desks = [number for (kind, _), number in floor.holders().items() if kind == "desk"]
        assert set(desks) == {1, 2}, "the desks are spread"
        own = str(floor.found["account_id"])
        floor.until(lambda: floor.desk_state() == "trading", "the deployment's desk trades")
        for host in (one, two):
            floor.until(lambda host=host: floor.ready(host) == {"ready": True, "missing": [], "not_trading": []},
                        "its web is ready and misses nothing")  # fmt: skip

        floor.fall_until(lambda: floor.query("SELECT 1 FROM execution_fill") and floor.is_calm(), "bought, with a stop")
        floor.until(lambda: len(floor.leases()) == wanted, "every resident runs somewhere, still")
        before = floor.leases()
        on = {name: floor.host_of(holder) for name, (holder, _) in before.items()}
        dying = next(host for host in (one, two) if host.number == on[("desk", own)])
        living = two if dying is one else one
        if floor.own_network:
            dying.network_cut()  # its processes live on, and reach nothing
        else:
            dying.die()
        now = floor.until(lambda: floor.all_on(living, wanted), "every lease is held by the host that lives")
        passed = {name for name in now if now[name][0] != before[name][0]}
        assert passed >= {name for name, number in on.items() if number == dying.number}, (before, now)
        # a lease has another fence with another holder, and only then
        assert {name for name in now if now[name][1] > before[name][1]} == passed, (before, now)
        dying.die()
        floor.until(lambda: floor.desk_state() == "trading", "the desk trades on the other host")
        floor.until(lambda: floor.ready(living)["not_trading"] == [], "the other web misses nothing")

        filled = len(floor.exchange.ledger("fill"))
        floor.run_to(floor.fell + 8)  # the price is back, so what was bought is sold
        floor.until(lambda: len(floor.exchange.ledger("fill")) > filled, "it trades on, from the other host")
        floor.prove()
