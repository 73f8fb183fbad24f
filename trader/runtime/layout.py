"""Where the stack keeps what: one folder, `.quarterdeck/` unless set otherwise."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trader.runtime.errors import StartError

LEAST_FREE_BYTES = 300 * 1024 * 1024


@dataclass(frozen=True)
class Layout:
    """The folders and files of one installation."""

    root: Path

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def servers_file(self) -> Path:
        """Addresses of the embedded servers, for commands in another shell."""
        return self.run / "servers.json"

    @property
    def stack_file(self) -> Path:
        """What runs now, written by the supervisor."""
        return self.run / "stack.json"

    def prepare(self) -> None:
        """Make the folders; refuse a disk that is full and a folder that is not ours."""
        try:
            for folder in (self.root, self.logs, self.run):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            probe = self.run / ".probe"
            probe.write_bytes(b"x" * 4096)
            probe.unlink()
        except OSError as error:
            raise StartError(
                f"The state folder {self.root} cannot be written: {error.strerror}.", _fix(error)
            ) from None
        free = shutil.disk_usage(self.root).free
        if free < LEAST_FREE_BYTES:
            raise StartError(
                f"The disk of {self.root} is full: {free >> 20} MB are free, {LEAST_FREE_BYTES >> 20} are needed.",
                "make room (df -h shows the disks), or set QD_RUNTIME_STATE_DIR to a folder on another disk.",
            )


def _fix(error: OSError) -> str:
    if isinstance(error, FileExistsError | NotADirectoryError):
        return "a file stands where the folder should be: move it away, or set QD_RUNTIME_STATE_DIR to another folder."
    if error.errno == 28:
        return "the disk is full: make room (df -h shows the disks)."
    return "make the folder yours (chown), or set QD_RUNTIME_STATE_DIR to a folder that you can write."


def json_write(path: Path, value: Any) -> None:
    """Write JSON so that a reader never sees half of it."""
    fresh = path.with_name(path.name + ".new")
    descriptor = os.open(fresh, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(value, file)
    fresh.replace(path)


def json_read(path: Path) -> Any:
    """Return what a JSON file holds, None if it is missing or half there."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None
