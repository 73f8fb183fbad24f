"""`manage.py restored`: the last step of a restore. Engages the kill switch and empties the bus of another life."""

from typing import Any

import redis
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.module_loading import import_string

ENGAGE = "apps.risk.services.kill_engage_sync"
# streams are filled again from the database; the kill switch's record is none of them
STREAMS = ("qd:log:*", "qd:bars:*", "qd:last")
MUST = ("database", "file")


class Command(BaseCommand):
    help = "Part of `manage.py restore`: engage the kill switch in a database that was just restored."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--made-at", default="", help="when the backup was made")

    def handle(self, *args: Any, **options: Any) -> None:
        reason = f"restored from the backup of {options['made_at'] or 'an unknown time'}"
        result = import_string(ENGAGE)("all", "system:restore", reason)
        failed = {place: result.written.get(place) for place in MUST if result.written.get(place) != "ok"}
        if failed:
            raise CommandError(f"the kill switch's record was not taken by {failed}")
        self._streams_forget()
        self.stdout.write(f"the kill switch is engaged: {dict(result.written)}")

    def _streams_forget(self) -> None:
        try:
            with redis.Redis.from_url(settings.REDIS_URL, socket_timeout=10) as client:
                for pattern in STREAMS:
                    for key in client.scan_iter(pattern):
                        client.delete(key)
        except redis.RedisError as error:
            raise CommandError(f"the bus does not answer: {error}") from None
