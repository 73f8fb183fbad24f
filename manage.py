#!/usr/bin/env python
"""The one entry: `manage.py up` runs everything."""

import os
import sys

LIGHT = ("up", "status", "down", "backup", "restore", "upgrade-database", "process")


def main() -> None:
    """Run a command; what is wrong with settings, keys or servers is said in words, without a traceback."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "trader.settings")
    if len(sys.argv) > 1 and sys.argv[1] in LIGHT:
        from trader.runtime.cli import main as light

        sys.exit(light(sys.argv[1:]))
    if len(sys.argv) > 1 and sys.argv[1] == "simulate":  # an exchange of its own: no settings, no Django
        from apps.simulator.command import main as simulate

        sys.exit(simulate(sys.argv[2:]))
    from trader.config.loader import ConfigError
    from trader.runtime.errors import StartError

    try:
        from django.core.management import execute_from_command_line

        execute_from_command_line(sys.argv)
    except (ConfigError, StartError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
