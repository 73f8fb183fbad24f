"""The commands that need no Django: `up`, `status`, `down`, `backup`, `restore`, `upgrade-database`, `process`.

The supervisor stays small that way, and a restore finds nothing in the state folder that Django had made there.
"""

import argparse
import json
import sys
from typing import Any

from trader.config import ConfigError, load


def main(argv: list[str]) -> int:
    """Run one of the light commands; return the exit status."""
    command, rest = argv[0], argv[1:]
    if command == "up":
        from trader.runtime import up

        return up.run(up.parser().parse_args(rest))
    if command == "process":
        from trader.runtime import process

        return process.run(rest)
    if command in ("backup", "restore", "upgrade-database"):
        from trader.runtime import keeping

        return {"backup": keeping.backup, "restore": keeping.restore}.get(command, keeping.upgrade_database)(rest)
    try:
        config = load()
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1
    if command == "down":
        from trader.runtime.up import down

        argparse.ArgumentParser(prog="manage.py down", description="Stop the running stack.").parse_args(rest)
        return down(config)
    return _status(config, rest)


def _status(config: Any, rest: list[str]) -> int:
    from trader.runtime.status import status

    parser = argparse.ArgumentParser(prog="manage.py status", description="Show what runs.")
    parser.add_argument("--json", action="store_true", help="for programs")
    options = parser.parse_args(rest)
    found = status(config)
    if options.json:
        print(json.dumps(found, indent=2))
        return 0
    if not found["running"]:
        print("Nothing runs here. `make run` starts it.")
        return 3
    for row in found["processes"]:
        tail = f"since {row['since']}  restarts {row['restarts']}"
        print(f"{row['name']:<18}{row['state']:<10}{row['pid'] or '':>8}  {tail}")
    if found["residents"] is None:
        print("residents         unknown: the database does not answer")
    for row in found["residents"] or []:
        name = f"{row['kind']} {row['key']}"
        print(f"{name:<18}{row['state']:<10} fence {row['fence']}, lease {row['lease_left_s']} s")
    for name, url in found["urls"].items():
        print(f"{name:<18}{url}")
    return 0
