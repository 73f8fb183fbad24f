"""`manage.py kill`: engage the kill switch, follow the sweep, or release it. Engaging needs no database."""

import getpass
import sys
import time
from typing import Any

from django.contrib.auth import authenticate
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError
from django.http import HttpRequest

from apps.execution.models import KillSweep
from apps.execution.selectors import LOOK_THERE, NONE_TO_SWEEP, NOT_SWEPT, ScopeSweeps, sweeps_of
from apps.portfolio.selectors import account_label
from apps.risk.services import KillError, KillReleaseRefused, KillResult, kill_engage_sync, kill_release_sync
from apps.users.models import Role, User

RELEASERS = (Role.TRADER, Role.ADMIN)
LOOK_S = 0.25


class Command(BaseCommand):
    help = "Stop: cancel every order that can add risk, keep protective stops; --flatten closes positions too."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--flatten", action="store_true", help="close positions too, by orders that cannot add risk"
        )
        parser.add_argument("--scope", default="all", help="all, account:<id> or deployment:<key> (default: all)")
        parser.add_argument("--reason", default="", help="why; needed for a release")
        parser.add_argument("--release", action="store_true", help="release instead: asks for a trader's password")
        parser.add_argument("--user", default="", help="release: the person's name")
        parser.add_argument("--password-stdin", action="store_true", help="release: read the password from stdin")
        parser.add_argument("--wait", type=float, default=30.0, help="seconds to follow the sweep (default: 30)")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            if options["release"]:
                self._release(options)
            else:
                self._engage(options)
        except ValueError as error:
            raise CommandError(str(error)) from None

    def _engage(self, options: dict[str, Any]) -> None:
        try:
            result = kill_engage_sync(
                options["scope"],
                by=f"{getpass.getuser()} (shell)",
                reason=options["reason"],
                flatten=options["flatten"],
            )
        except KillError as error:
            raise CommandError(str(error)) from None
        self._written("engaged", result)
        if result.record.flatten and not options["flatten"]:
            self.stdout.write("Positions go on being closed, as was asked before: only a release takes that back.")
        self._follow(result.record.scope, result.record.generation, options["wait"])

    def _written(self, what: str, result: KillResult) -> None:
        """Say where the record stands now."""
        places = ", ".join(f"{place}: {words}" for place, words in result.written.items())
        self.stdout.write(
            f"Kill switch {what} for {result.record.scope} (generation {result.record.generation}; {places})."
        )

    def _follow(self, scope: str, generation: int, seconds: float) -> None:
        """Show this engagement's progress until the venue says zero for each account, or the time is over."""
        until = time.monotonic() + seconds
        told: dict[int, str] = {}
        while seconds > 0:
            try:
                sweeps = sweeps_of({scope: generation})[scope]
            except DatabaseError:
                self.stdout.write("The database does not answer: the desks sweep without it; look at the venue.")
                return
            lines = {pk: f"{label}: waiting for its desk to begin." for pk, label in sweeps.waiting.items()}
            lines |= {row.account_id: _words(row) for row in sweeps.rows}
            lines |= {pk: f"{words}. {LOOK_THERE}" for pk, words in sweeps.unswept.items()}
            for pk, line in lines.items():
                if told.get(pk) != line:
                    told[pk] = line
                    self.stdout.write(line)
            if sweeps.is_done:
                if not sweeps.accounts:
                    self.stdout.write(NONE_TO_SWEEP)
                return
            if time.monotonic() >= until:
                self._not_done(sweeps)
                return
            time.sleep(LOOK_S)

    def _not_done(self, sweeps: ScopeSweeps) -> None:
        """Say what is missing when the time is over."""
        for label in sweeps.waiting.values():
            self.stdout.write(f"{label}: has not begun. {NOT_SWEPT}")
        if not sweeps.rows_ended:
            self.stdout.write("Not all desks have reported an end yet: they go on; `manage.py status` shows them.")

    def _release(self, options: dict[str, Any]) -> None:
        person = self._person(options)
        if not options["reason"].strip():
            raise CommandError("--reason: a release needs one. Say why it is safe to go on.")
        try:
            result = kill_release_sync(options["scope"], by=person.get_username(), reason=options["reason"])
        except (KillReleaseRefused, KillError) as error:
            raise CommandError(str(error)) from None
        self._written("released", result)

    def _person(self, options: dict[str, Any]) -> User:
        """Return the trader who releases, or refuse: a fresh password is asked for each time."""
        if not options["user"]:
            raise CommandError("--user: a release needs a trader's name.")
        if options["password_stdin"]:
            password = sys.stdin.readline().rstrip("\n")
        else:
            password = getpass.getpass(f"Password of {options['user']}: ")
        try:
            found = authenticate(_request(), username=options["user"], password=password)
        except DatabaseError as error:
            raise CommandError(f"Not released: the database does not answer, and a release needs it: {error}") from None
        if not isinstance(found, User) or found.role not in RELEASERS:
            raise CommandError(
                "Not released: wrong name or password, not a trader, or locked for a while after repeated failures."
            )
        return found


def _request() -> HttpRequest:
    """What the lock-out counts by: failures at a shell are failures from this machine."""
    request = HttpRequest()
    request.path, request.META = "manage.py kill", {"REMOTE_ADDR": "127.0.0.1"}
    return request


def _words(sweep: KillSweep) -> str:
    label = account_label(sweep.account_id, sweep.account.name)
    parts = [f"{label}: {sweep.left} risk-adding orders left of {sweep.found}"]
    if sweep.flatten:
        parts.append(f"{sweep.positions_left} positions left")
    if sweep.foreign:
        parts.append(f"{sweep.foreign} foreign orders left alone")
    if sweep.seconds_left:
        parts.append(f"about {sweep.seconds_left:.0f} s at the venue's rate")
    if sweep.why:
        parts.append(f"because: {sweep.why}")
    return ", ".join(parts) + (": done." if sweep.finished_at else ".")
