from django.core.management.base import BaseCommand, CommandParser

from apps.simulator.command import parser_fill, simulate


class Command(BaseCommand):
    help = "Run the simulated exchange (Bybit v5) on a synthetic market or on recorded files."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser_fill(parser)

    def handle(self, *args: object, **options: object) -> None:
        import argparse

        raise SystemExit(simulate(argparse.Namespace(**options)))
