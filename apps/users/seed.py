"""The first person: an admin without a password, who comes in by a one-time link."""

from typing import Any

from apps.users.models import User
from apps.users.services import person_ensure


def seed(options: dict[str, Any], so_far: dict[str, Any] | None = None) -> dict[str, Any]:
    """Make the first person when nobody exists; return their name as `person`."""
    first = User.objects.order_by("pk").filter(is_active=True, role="admin").first()
    return {"person": (first or person_ensure(name=options.get("person", "captain"))).username}
