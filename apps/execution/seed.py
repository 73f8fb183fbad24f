"""What a first run holds: the four digits that name this installation in every client id."""

import secrets
from typing import Any

from apps.execution.models import Install


def seed(_options: dict[str, Any], _so_far: dict[str, Any]) -> dict[str, Any]:
    """Draw the prefix once; a restored database brings its own along."""
    row, _ = Install.objects.get_or_create(pk=1, defaults={"prefix": secrets.token_hex(2)})
    return {"install": row.prefix}
