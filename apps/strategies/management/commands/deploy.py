"""`manage.py deploy`: list, start, stop and change deployments."""

import getpass
import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import Q

from apps.portfolio.models import Account
from apps.strategies.models import Deployment
from apps.strategies.selectors import LIBRARY, strategy_load
from apps.strategies.services import (
    SIZING,
    DeploymentRefused,
    deployment_change,
    deployment_start,
    deployment_stop,
)


class Command(BaseCommand):
    help = "List, start, stop and change deployments: strategies at work on an account."

    def add_arguments(self, parser: CommandParser) -> None:
        acts = parser.add_subparsers(dest="act", required=True)
        acts.add_parser("list", help="deployments, and the strategies there are with their parameters")
        start = acts.add_parser("start", help="put a strategy to work")
        start.add_argument("strategy", choices=LIBRARY)
        start.add_argument("--account", required=True, help="its number or name")
        start.add_argument("--no-stop", default="", metavar="REASON", help="do without protective stops, and why")
        stop = acts.add_parser("stop", help="stop one; its positions keep their stops")
        change = acts.add_parser("change", help="replace one by a successor that takes over its positions")
        for one in (stop, change):
            one.add_argument("key")
        for one in (start, change):
            one.add_argument("--universe", default=None, help="name of the universe (start: desk)")
            one.add_argument("--stage", default=None, choices=Deployment.Stage.values)
            one.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a parameter; repeatable")
        for one in (start, stop, change):
            one.add_argument("--reason", default="")

    def handle(self, *args: Any, **options: Any) -> None:
        act = {"list": self._list, "start": self._start, "stop": self._stop, "change": self._change}[options["act"]]
        try:
            act(options)
        except DeploymentRefused as error:
            raise CommandError(str(error)) from None

    def _list(self, _options: dict[str, Any]) -> None:
        for row in Deployment.objects.select_related("account"):
            self.stdout.write(
                f"{row.key}  {row.state}  {row.stage}  account {row.account_id} ({row.account.name})  "
                f"universe {row.universe_name}  {json.dumps(row.parameters)}"
            )
        for name in LIBRARY:
            self.stdout.write(f"\n{name}:")
            for one in strategy_load(name).parameter_list():
                span = f"{one.range.low:g} to {one.range.high:g} {one.range.unit}".rstrip()
                self.stdout.write(f"  {one.name} = {one.default}  ({span})  {one.range.help}")

    def _start(self, options: dict[str, Any]) -> None:
        parameters, sizing = _split(options["set"])
        row = deployment_start(
            strategy=options["strategy"],
            account=_account(options["account"]),
            universe=options["universe"] or "desk",
            by=_by(),
            parameters=parameters,
            sizing=sizing,
            stage=options["stage"] or Deployment.Stage.FULL,
            no_stop_reason=options["no_stop"],
            reason=options["reason"],
        )
        self.stdout.write(f"{row.key} is at work on account {row.account_id}.")

    def _stop(self, options: dict[str, Any]) -> None:
        row = deployment_stop(options["key"], by=_by(), reason=options["reason"])
        self.stdout.write(f"{row.key} is stopped: it decides nothing more; its positions keep their stops.")

    def _change(self, options: dict[str, Any]) -> None:
        parameters, sizing = _split(options["set"])
        row = deployment_change(
            options["key"],
            by=_by(),
            parameters=parameters,
            sizing=sizing,
            universe=options["universe"],
            stage=options["stage"],
            reason=options["reason"],
        )
        self.stdout.write(f"{row.key} has taken over from {options['key']}.")


def _account(text: str) -> Account:
    wanted = Q(name__iexact=text) | Q(pk=int(text)) if text.isdecimal() else Q(name__iexact=text)
    found = list(Account.objects.filter(wanted, epoch__is_current=True))
    if len(found) != 1:
        raise CommandError(f"--account: {len(found)} accounts are called {text!r}; give its number")
    return found[0]


def _split(pairs: list[str]) -> tuple[dict[str, Any], dict[str, float]]:
    """Return the strategy's parameters and the sizing out of NAME=VALUE pairs."""
    parameters: dict[str, Any] = {}
    sizing: dict[str, float] = {}
    for pair in pairs:
        name, separator, text = pair.partition("=")
        try:
            value = json.loads(text)
        except ValueError:
            value = None
        if not separator or isinstance(value, bool) or not isinstance(value, int | float):
            raise CommandError(f"--set {pair}: expected NAME=NUMBER")
        (sizing if name in SIZING else parameters)[name] = value
    return parameters, sizing


def _by() -> str:
    return f"{getpass.getuser()} (shell)"
