"""`manage.py login-link`: a one-time link that signs a person in."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.users.models import Role
from apps.users.selectors import user_by_name
from apps.users.services import TOKEN_LIFE, login_token_create, person_ensure
from trader.config import config


class Command(BaseCommand):
    help = "Print a link that signs a person in once, within ten minutes."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--user", default="captain", help="Name of the person (default: captain).")
        parser.add_argument("--role", choices=Role.values, help="Make the person with this role if there is none.")
        parser.add_argument("--base-url", default="", help="Address of the web process (default: from the settings).")
        parser.add_argument("--json", action="store_true", help="Print JSON.")

    def handle(self, *args: Any, **options: Any) -> None:
        user = user_by_name(options["user"])
        if user is None and options["role"]:
            user = person_ensure(name=options["user"], role=options["role"])
        if user is None:
            raise CommandError(f"There is nobody called {options['user']!r}. Fix: add --role viewer to make them.")
        if not user.is_active:
            raise CommandError(f"{user.username} is switched off. Fix: switch them on in the admin, under People.")
        # in the fragment: browsers do not send it, so it stands in no server's log and no Referer
        base = options["base_url"] or f"http://{config.runtime.bind_host}:{config.runtime.web_port}"
        link = f"{base.rstrip('/')}/sign-in/link/#{login_token_create(user=user)}"
        if options["json"]:
            life_s = int(TOKEN_LIFE.total_seconds())
            self.stdout.write(json.dumps({"user": user.username, "url": link, "expires_s": life_s}))
            return
        self.stdout.write(f"{link}\nIt signs {user.username} in once, within ten minutes.")
