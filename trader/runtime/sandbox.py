"""What a child does before it starts: be no root (PostgreSQL refuses that), and die with its parent."""

import ctypes
import os
import pwd
import signal
import sys
from collections.abc import Callable
from pathlib import Path

CLONE_NEWUSER = 0x10000000
PR_SET_PDEATHSIG = 1
MAPPED_ID = 1000


def as_ordinary_user(folder: Path) -> Callable[[], None] | None:
    """Return what a child must run before `exec` so that it is not root; None where we are not root.

    A user namespace maps our root to an ordinary id, so files stay ours. Where namespaces are
    refused, the child becomes `nobody`, who must own `folder`.
    """
    if os.geteuid() != 0:
        return None
    return _enter_user_namespace if _namespaces_work() else _become_nobody(folder)


def _unshare() -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    return int(libc.unshare(CLONE_NEWUSER))


def _enter_user_namespace() -> None:
    uid, gid = os.getuid(), os.getgid()
    if _unshare() != 0:
        raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWUSER)")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{MAPPED_ID} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{MAPPED_ID} {gid} 1")


def _namespaces_work() -> bool:
    child = os.fork()
    if child == 0:
        try:
            _enter_user_namespace()
            os._exit(0)
        except BaseException:
            os._exit(1)
    return os.waitpid(child, 0)[1] == 0


def _become_nobody(folder: Path) -> Callable[[], None]:
    nobody = pwd.getpwnam("nobody")
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    for parent in folder.parents:
        if not os.stat(parent).st_mode & 0o001:
            raise PermissionError(
                f"PostgreSQL cannot run as root, and `nobody` cannot enter {parent}. "
                "Run Quarterdeck as an ordinary user, or set QD_RUNTIME_STATE_DIR to a folder that everyone can enter."
            )

    def become() -> None:
        os.setgid(nobody.pw_gid)
        os.setuid(nobody.pw_uid)

    return become


def die_with_parent(stop_signal: int = signal.SIGTERM) -> None:
    """Ask Linux to send `stop_signal` when our parent dies, even by kill -9. A no-op elsewhere."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(stop_signal))
