"""`manage.py retention`: how long every table keeps its rows; `--now` enforces it, `--page` writes the reference."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from apps.monitoring.retention import RULES, page_lines, retention_enforce, rows_due
from trader.config.schema import ROOT

PAGE = ROOT / "docs" / "reference" / "retention.md"


class Command(BaseCommand):
    help = "Say how many rows of which table are past their keeping time."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--now", action="store_true", help="delete them now; the nightly task does the same")
        parser.add_argument("--page", action="store_true", help="write docs/reference/retention.md")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["page"]:
            PAGE.write_text("\n".join(page_lines()) + "\n")
            self.stdout.write(f"wrote {PAGE.relative_to(ROOT)}")
            return
        if options["now"]:
            for model, count in retention_enforce().items():
                self.stdout.write(f"{model}: {count} removed")
            return
        for rule in RULES:
            if rule.since:  # one count for each rule, nothing for each row
                self.stdout.write(f"{rule.model}: {rows_due(rule).count()} past {rule.days} days")
