"""`manage.py token`: make, list and revoke tokens of the API."""

import getpass
import json
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.users.models import ApiToken, Scope
from apps.users.selectors import user_by_name
from apps.users.services import API_DAYS, ApiTokenRefused, api_token_create, api_token_revoke


class Command(BaseCommand):
    help = "Make, list and revoke tokens for programs that use the API."

    def add_arguments(self, parser: CommandParser) -> None:
        acts = parser.add_subparsers(dest="act", required=True)
        create = acts.add_parser("create", help="make one; it is shown once")
        create.add_argument("--user", default="captain", help="whose it is (default: captain)")
        create.add_argument("--name", required=True, help="what it is for")
        create.add_argument("--scope", action="append", choices=Scope.values, help="repeatable (default: read)")
        create.add_argument("--days", type=float, default=API_DAYS, help=f"how long it lasts (default: {API_DAYS})")
        listed = acts.add_parser("list", help="those that still work")
        listed.add_argument("--user", default="", help="only this person's")
        listed.add_argument("--all", action="store_true", help="also those that ended")
        revoke = acts.add_parser("revoke", help="end one at once")
        revoke.add_argument("id", help="its id, as `list` shows it")
        for one in (create, listed):
            one.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        {"create": self._create, "list": self._list, "revoke": self._revoke}[options["act"]](options)

    def _create(self, options: dict[str, Any]) -> None:
        user = user_by_name(options["user"])
        if user is None:
            raise CommandError(f"There is nobody called {options['user']!r}. Fix: --user with a name, or make them.")
        try:
            row, text = api_token_create(
                user=user,
                name=options["name"],
                scopes=options["scope"] or [Scope.READ],
                days=options["days"],
                by=_by(),
            )
        except ApiTokenRefused as refused:
            raise CommandError(f"--{refused}") from None
        if options["json"]:
            self.stdout.write(json.dumps(_row(row) | {"token": text}))
            return
        self.stdout.write(
            f"{text}\n{user.username}'s, for {row.name}: {', '.join(row.scopes)}, until "
            f"{row.expires_at:%Y-%m-%d %H:%M} UTC. It is not shown again."
        )

    def _list(self, options: dict[str, Any]) -> None:
        found = ApiToken.objects.select_related("user")
        if options["user"]:
            found = found.filter(user__username=options["user"])
        rows = [_row(row) for row in found]
        shown = [row for row in rows if options["all"] or row["state"] == "works"]
        if options["json"]:
            self.stdout.write(json.dumps(shown))
            return
        for row in shown:
            self.stdout.write(
                f"{row['id']}  {row['user']}  {row['name']}  {', '.join(row['scopes'])}  {row['state']}  "
                f"until {row['expires_at']}  last used {row['used_at'] or 'never'}"
            )
        if not shown:
            self.stdout.write("There are no tokens. `manage.py token create --name …` makes one.")

    def _revoke(self, options: dict[str, Any]) -> None:
        try:
            row = ApiToken.objects.select_related("user").filter(pk=UUID(options["id"])).first()
        except ValueError:
            row = None
        if row is None:
            raise CommandError(f"There is no token {options['id']!r}. Fix: `manage.py token list` shows their ids.")
        if not api_token_revoke(token=row, by=_by()):
            raise CommandError(f"{row.name} was revoked already, at {row.revoked_at:%Y-%m-%d %H:%M} UTC.")
        self.stdout.write(f"{row.name} is revoked: it opens nothing from now on.")


def _row(row: ApiToken) -> dict[str, Any]:
    return {
        "id": str(row.pk),
        "user": row.user.get_username(),
        "name": row.name,
        "scopes": row.scopes,
        "state": row.state,
        "expires_at": f"{row.expires_at:%Y-%m-%dT%H:%M:%SZ}",
        "used_at": f"{row.used_at:%Y-%m-%dT%H:%M:%SZ}" if row.used_at else None,
    }


def _by() -> str:
    return f"{getpass.getuser()} (shell)"
