"""People of each role, with a password."""

import pytest

from apps.users.models import Role, User

PASSWORD = "correct horse battery"


@pytest.fixture
def people(db, settings) -> dict[str, User]:
    """One person of each role, called as their role."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # four people for every test
    found = {}
    for role in Role.values:
        person = User(username=role, role=role)
        person.set_password(PASSWORD)
        person.save()
        found[role] = person
    return found
