"""`manage.py settings-page`: write docs/reference/settings.md from the one declared list."""

from typing import Any

from django.core.management.base import BaseCommand

from trader.config.schema import ROOT
from trader.runtime.settings_page import page


class Command(BaseCommand):
    help = "Write the reference of all settings from their declaration."

    def handle(self, *args: Any, **options: Any) -> None:
        path = ROOT / "docs" / "reference" / "settings.md"
        path.write_text(page())
        self.stdout.write(f"wrote {path.relative_to(ROOT)}")
