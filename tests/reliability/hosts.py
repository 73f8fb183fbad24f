"""Several hosts on one machine: each with a network and a state folder of its own, reaching the servers by TCP.

Where the system lets us make network namespaces, a host is one, and can lose its network; elsewhere hosts are separate
installs that share the machine's.
"""

import contextlib
import os
import selectors
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

from tests.apps.execution.living import ROOT

NETWORK = "10.213.{host}.{end}"
COMMON = "10.213.0.1"  # where every host finds what the machine serves


def namespaces_work() -> bool:
    """Say whether network namespaces can be made here."""
    if shutil.which("ip") is None or os.geteuid() != 0:
        return False
    name = f"qdtry{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode == 0
    if made:
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
    return made


def common_address(wanted: bool) -> None:
    """Give the machine the address that all hosts know, or take it away."""
    command = ["ip", "addr", "add" if wanted else "del", f"{COMMON}/32", "dev", "lo"]
    subprocess.run(command, capture_output=True, check=False)  # a run that was killed has left it


class Forwarder:
    """Hands connections to an address on to a local port or unix socket."""

    def __init__(self, listen: tuple[str, int], target: tuple[str, int] | str) -> None:
        self._target = target
        self._server = socket.create_server(listen)
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._pump, args=(client,), daemon=True).start()

    def _pump(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            if isinstance(self._target, str):
                other = socket.socket(socket.AF_UNIX)
                other.connect(self._target)
            else:
                other = socket.create_connection(self._target)
            with other, selectors.DefaultSelector() as ready:
                ready.register(client, selectors.EVENT_READ, other)
                ready.register(other, selectors.EVENT_READ, client)
                while True:
                    for key, _ in ready.select():
                        chunk = key.fileobj.recv(65536)
                        if not chunk:
                            return
                        key.data.sendall(chunk)


class Host:
    """One host: `start` runs a process of the stack on it, `die` takes its power and its network away."""

    def __init__(self, number: int, folder: Path, environment: dict[str, str], own_network: bool) -> None:
        self.number, self.folder, self.own_network = number, folder, own_network
        self.name = f"qdh{os.getpid() % 10_000}x{number}"
        self.environment = environment | {"QD_RUNTIME_STATE_DIR": str(folder / f"host{number}")}
        self.processes: dict[str, subprocess.Popen] = {}
        self.address = "127.0.0.1"
        if own_network:
            self._wire()

    @property
    def outside(self) -> str:
        """Return the address by which this host reaches the machine."""
        return NETWORK.format(host=self.number, end=1) if self.own_network else "127.0.0.1"

    def start(self, name: str, **environment: str) -> subprocess.Popen:
        """Run `manage.py process NAME` on this host."""
        inside = ["ip", "netns", "exec", self.name] if self.own_network else []
        with (self.folder / f"{self.name}-{name}.log").open("a") as log:
            self.processes[name] = subprocess.Popen(
                [*inside, sys.executable, "manage.py", "process", name], cwd=ROOT,
                env=self.environment | {"QD_PROCESS": name} | environment, stdout=log, stderr=log,
            )  # fmt: skip
        return self.processes[name]

    def is_up(self, name: str) -> bool:
        """Say whether a worker has come up here, by the file that it touches."""
        alive = Path(self.environment["QD_RUNTIME_STATE_DIR"]) / "run" / f"alive-{name}-{socket.gethostname()}"
        return alive.exists()

    def network_cut(self) -> None:
        """Take the network away, and leave the processes to themselves."""
        subprocess.run(["ip", "link", "set", f"v{self.name}", "down"], check=True)

    def die(self) -> None:
        """End every process at once, as a loss of power does."""
        for process in self.processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait(10)

    def close(self) -> None:
        """Take the host away."""
        self.die()
        if self.own_network:
            subprocess.run(["ip", "link", "del", f"v{self.name}"], capture_output=True, check=False)
            subprocess.run(["ip", "netns", "del", self.name], capture_output=True, check=False)

    def _wire(self) -> None:
        self.address = NETWORK.format(host=self.number, end=2)
        outer, inner = f"v{self.name}", f"w{self.number}"
        for command in (
            f"ip netns add {self.name}",
            f"ip link add {outer} type veth peer name {inner} netns {self.name}",
            f"ip addr add {self.outside}/24 dev {outer}",
            f"ip link set {outer} up",
            f"ip netns exec {self.name} ip addr add {self.address}/24 dev {inner}",
            f"ip netns exec {self.name} ip link set {inner} up",
            f"ip netns exec {self.name} ip link set lo up",
            f"ip netns exec {self.name} ip route add default via {self.outside}",
        ):
            subprocess.run(command.split(), check=True, capture_output=True)
