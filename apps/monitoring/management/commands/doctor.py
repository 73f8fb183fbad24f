"""`manage.py doctor`: looks at the whole installation, says what to fix; the exit status is 1 when something is bad."""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from apps.monitoring.doctor import application_checkup
from trader.config import config
from trader.runtime.checkup import BAD, GOOD, WARN, Finding, machine_checkup, servers_checkup

MARKS = {GOOD: "ok  ", WARN: "WARN", BAD: "BAD "}


class Command(BaseCommand):
    help = "Verify this installation: versions, servers, permissions, clocks, disk, queues, kill switch."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="for programs")
        parser.add_argument("--wait", type=float, default=15.0, help="seconds that a queue may take (default: 15)")

    def handle(self, *args: Any, **options: Any) -> None:
        found = []
        for finding in self._findings(options["wait"]):
            found.append(finding)
            if not options["json"]:
                self._say(finding)
        if options["json"]:
            self.stdout.write(json.dumps([asdict(finding) for finding in found], indent=2))
        bad = sum(finding.state == BAD for finding in found)
        if not options["json"]:
            warned = sum(finding.state == WARN for finding in found)
            self.stdout.write(f"{len(found)} looked at: {bad} bad, {warned} to look into")
        if bad:
            sys.exit(1)

    def _findings(self, wait_s: float) -> Iterator[Finding]:
        yield from machine_checkup(config)
        servers = list(servers_checkup(config))
        yield from servers
        answering = {finding.name for finding in servers if "does not answer" not in finding.words}
        if config.runtime.database_url and config.runtime.redis_url and {"database", "bus"} <= answering:
            yield from application_checkup(wait_s)
        else:
            yield Finding("application", BAD, "not asked: a server is missing", "mend that first")

    def _say(self, finding: Finding) -> None:
        self.stdout.write(f"{MARKS[finding.state]} {finding.name:<24} {finding.words}")
        if finding.fix and finding.state != GOOD:
            self.stdout.write(f"     {'':<24} Fix: {finding.fix}")
