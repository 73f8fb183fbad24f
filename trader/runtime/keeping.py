"""The commands `backup`, `restore` and `upgrade-database`, as a person types them."""

import argparse
import sys
from pathlib import Path

from trader.config import Config, ConfigError, load
from trader.runtime.errors import StartError


def backup(rest: list[str]) -> int:
    """Make a backup; return the exit status."""
    parser = argparse.ArgumentParser(prog="manage.py backup", description="Back everything up into one file.")
    parser.add_argument("--to", type=Path, metavar="FILE", help="write it there; the nightly ones are left alone")
    parser.add_argument("--verify", type=Path, metavar="FILE", help="only read a backup and compare its checksums")
    options = parser.parse_args(rest)
    return _said(lambda: _backup(options))


def restore(rest: list[str]) -> int:
    """Restore a backup; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="manage.py restore", description="Restore a backup into an empty state folder, kill switch engaged."
    )
    parser.add_argument("file", type=Path, help="the backup")
    parser.add_argument("--aside", action="store_true", help="move what is in the state folder aside first")
    options = parser.parse_args(rest)
    return _said(lambda: _restore(options))


def upgrade_database(rest: list[str]) -> int:
    """Bring the embedded database to this version's PostgreSQL; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="manage.py upgrade-database",
        description="Bring an embedded database of another PostgreSQL over.",
    )
    parser.add_argument("--old-bin", type=Path, metavar="DIR", help="folder of the old PostgreSQL's programs")
    options = parser.parse_args(rest)
    return _said(lambda: _upgrade(options))


def _backup(options: argparse.Namespace) -> None:
    from trader.runtime.archive import archive_verify
    from trader.runtime.backup import backup_make

    if options.verify:
        manifest = archive_verify(options.verify)
        print(f"{options.verify} is whole: {len(manifest.files)} files, made {manifest.made_at}.")
        return
    made = backup_make(_config(), options.to)
    megabytes = made.path.stat().st_size / 1e6
    print(f"{made.path}: {len(made.manifest.files)} files, {megabytes:.1f} MB, read back whole.")
    print("It holds the keys: keep it as you keep them.")
    for path in made.removed:
        print(f"removed {path.name}")


def _restore(options: argparse.Namespace) -> None:
    from trader.runtime.layout import Layout
    from trader.runtime.restore import restore, words

    config = load(running=False)
    moved = restore(config, options.file, aside=options.aside)
    for line in words(options.file, moved, Layout(config.runtime.state_dir)):
        print(line)


def _upgrade(options: argparse.Namespace) -> None:
    from trader.runtime.upgrade import database_upgrade

    for line in database_upgrade(load(running=False), options.old_bin):
        print(line)


def _config() -> Config:
    from trader.runtime.layout import Layout
    from trader.runtime.status import is_running

    config = load(running=False)
    return load() if is_running(Layout(config.runtime.state_dir)) is not None else config


def _said(act: object) -> int:
    try:
        act()  # type: ignore[operator]
    except (StartError, ConfigError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0
