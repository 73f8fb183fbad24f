"""What others ask about people."""

from apps.users import bearer
from apps.users.access import role_required
from apps.users.identity import Identity, identity_read
from apps.users.models import Role, Scope, User

__all__ = ["Identity", "Role", "Scope", "bearer", "identity_read", "role_required", "user_by_name"]


def user_by_name(name: str) -> User | None:
    """Return the person of that user name, or None."""
    return User.objects.filter(username=name).first()
