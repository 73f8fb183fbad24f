"""`manage.py prepare`: schema and first seed, idempotent; `up` runs it at every start."""

import json
from importlib import import_module
from importlib.util import find_spec
from io import StringIO
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.management import CommandError, call_command, get_commands
from django.core.management.base import BaseCommand, CommandParser
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from trader.runtime.keys import keys_ready
from trader.runtime.layout import json_write
from trader.runtime.stack import PREPARED


class Command(BaseCommand):
    help = "Bring the database up to this version and seed what a first run holds."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--options", default="{}", help="JSON: market, simulator, new_epoch")

    def handle(self, *args: Any, **options: Any) -> None:
        wanted = json.loads(options["options"])
        keys_ready(settings.STATE_DIR)
        self._migrate()
        found: dict[str, Any] = {}
        for config in apps.get_app_configs():  # in the order of the floors, lowest first
            name = f"{config.name}.seed"
            if find_spec(name) is not None:
                found |= import_module(name).seed(wanted, found) or {}
        if "login-link" in get_commands() and found.get("person"):
            out = StringIO()
            call_command(
                "login-link", "--json", "--base-url", wanted.get("web_url", ""), "--user", found["person"], stdout=out
            )
            found["login_url"] = json.loads(out.getvalue())["url"]
        if "simulator_state_dir" in found:
            kept = {name: found[name] for name in ("simulator_state_dir", "market")}
            (settings.STATE_DIR / "run").mkdir(parents=True, exist_ok=True, mode=0o700)
            json_write(settings.STATE_DIR / "run" / PREPARED, kept)
        self.stdout.write(json.dumps(found, default=str))

    def _migrate(self) -> None:
        executor = MigrationExecutor(connection)
        known = set(executor.loader.disk_migrations)
        newer = sorted(f"{app}.{name}" for app, name in executor.loader.applied_migrations if (app, name) not in known)
        newer = [name for name in newer if name.split(".")[0] in {config.label for config in apps.get_app_configs()}]
        if newer:
            raise CommandError(
                f"The database holds changes that this version does not know: {', '.join(newer)}. "
                "Fix: run the version that made them, or restore a backup of this one."
            )
        if executor.migration_plan(executor.loader.graph.leaf_nodes()):
            call_command("migrate", interactive=False, verbosity=0)
