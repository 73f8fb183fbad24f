"""Who is there, without the database: a signed cookie that carries a person and a role.

It opens two doors only, both of which must work with Postgres stopped: engaging the kill switch, and the socket of a
page while the database does not answer. It is set beside the session by `IdentityMiddleware`, and goes with it.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from django.core import signing
from django.http import HttpResponse

from apps.users.models import Role

COOKIE = "qd_identity"
SALT = "quarterdeck.identity"
MAX_AGE_S = 14 * 24 * 3600  # as long as the session it stands beside
REFRESH_S = 15 * 60


@dataclass(frozen=True)
class Identity:
    """A person as the cookie names them: id, name, role, and when it was issued (Unix seconds)."""

    id: int
    name: str
    role: str
    issued_s: int
    # what a socket asks of whoever opens it
    is_authenticated: ClassVar[bool] = True
    is_active: ClassVar[bool] = True

    def may(self, role: str) -> bool:
        """Say whether this person's role includes `role`."""
        return Role(self.role).rank >= Role(role).rank


def identity_read(cookies: Mapping[str, str]) -> Identity | None:
    """Return who the cookie names, or None when it is missing, forged, too old or of another form."""
    try:
        body: dict[str, Any] = signing.loads(cookies.get(COOKIE, ""), salt=SALT, max_age=MAX_AGE_S)
        return Identity(int(body["i"]), str(body["n"]), Role(body["r"]).value, int(body["t"]))
    except (signing.BadSignature, KeyError, TypeError, ValueError):
        return None


def identity_write(response: HttpResponse, user: Any, *, secure: bool) -> None:
    """Put the cookie of `user` on a response: signed, not readable by scripts, never sent across sites."""
    body = {"i": user.pk, "n": user.get_username(), "r": user.role, "t": int(time.time())}
    response.set_cookie(
        COOKIE,
        signing.dumps(body, salt=SALT, compress=True),
        max_age=MAX_AGE_S,
        httponly=True,
        samesite="Strict",
        secure=secure,
    )


def identity_current(cookies: Mapping[str, str], user: Any) -> bool:
    """Say whether the cookie still tells the truth about `user`, and is young enough to be left alone."""
    found = identity_read(cookies)
    return (
        found is not None
        and (found.id, found.name, found.role) == (user.pk, user.get_username(), user.role)
        and time.time() - found.issued_s < REFRESH_S
    )
