"""Tokens of the API: signed, so that the signature alone says who and what; stored as a hash, so that they can end.

What the signature says is enough for one act only, engaging the kill switch while the database does not answer.
Everything else asks the database each time: a token that was revoked, or whose person may less by now, is refused.
"""

import asyncio
import hashlib
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from django.core import signing
from django.db import DatabaseError, InterfaceError, close_old_connections, connection
from django.utils import timezone

from apps.users.models import ApiToken, Scope, User

PREFIX = "qd_"
SALT = "quarterdeck.token"
LONGEST = 2_000
USED_EVERY = timedelta(minutes=5)
ANSWER_S = 1.0  # a database that is frozen says nothing at all
THREADS = 4
PERSON = ["id", "username", "is_active", "role"]  # what a request needs of them; the rest is read where it is asked for
# by hand: asked on every request, it must cost little
HELD = f"""
SELECT token.id, token.revoked_at, token.used_at, {", ".join(f"person.{name}" for name in PERSON)}
FROM users_apitoken token JOIN users_user person ON person.id = token.user_id WHERE token.digest = %s
"""
DATABASE_GONE = (DatabaseError, InterfaceError, TimeoutError)
_threads = ThreadPoolExecutor(THREADS, thread_name_prefix="api-token")


class TokenRefused(Exception):
    """A token that opens nothing; the words say why and what to do."""


@dataclass(frozen=True)
class Signed:
    """What a token's signature vouches for."""

    id: str
    user_id: int
    user_name: str
    name: str
    scopes: tuple[str, ...]
    expires_s: int

    @property
    def by(self) -> str:
        """Return who acts, for the audit: the person, and by which token."""
        return f"{self.user_name} (token {self.name})"[:150]


@dataclass(frozen=True)
class Holder:
    """Whoever a token speaks for, as the database has them now; a socket's person, too."""

    token: Signed
    person: User
    is_authenticated: ClassVar[bool] = True
    is_active: ClassVar[bool] = True

    @property
    def id(self) -> int:
        """Return the person's key."""
        return int(self.person.pk)

    @property
    def role(self) -> str:
        """Return the person's role."""
        return str(self.person.role)

    @property
    def by(self) -> str:
        """Return who acts, for the audit."""
        return self.token.by


def token_write(row: ApiToken) -> str:
    """Return the token of a row that is about to be saved."""
    body = {
        "i": str(row.pk),
        "u": row.user_id,
        "n": row.user.get_username(),
        "t": row.name,
        "s": list(row.scopes),
        "e": int(row.expires_at.timestamp()),
    }
    return PREFIX + _signer().sign_object(body)


def token_read(text: str) -> Signed:
    """Return what a token's signature vouches for. Asks no database. Raises `TokenRefused`."""
    try:
        if not text.startswith(PREFIX) or len(text) > LONGEST:
            raise signing.BadSignature
        body: dict[str, Any] = _signer().unsign_object(text.removeprefix(PREFIX))
        found = Signed(str(body["i"]), int(body["u"]), str(body["n"]), str(body["t"]), tuple(body["s"]), int(body["e"]))
    except (signing.BadSignature, KeyError, TypeError, ValueError):
        raise TokenRefused("The token is none of ours, or damaged: send it whole, as it was shown.") from None
    if found.expires_s <= time.time():
        day = datetime.fromtimestamp(found.expires_s, UTC)
        raise TokenRefused(f"The token expired on {day:%Y-%m-%d %H:%M} UTC: make a new one.")
    return found


def token_check(text: str) -> Holder:
    """Return whoever a token speaks for now, in one query. Raises `TokenRefused`, and what the database raises."""
    signed = token_read(text)
    with connection.cursor() as cursor:
        cursor.execute(HELD, [token_digest(text)])
        row = cursor.fetchone()
    if row is None or row[1] is not None:
        raise TokenRefused("The token was revoked: make a new one.")
    key, _, used_at, *person = row
    user = User.from_db("default", PERSON, person)
    if not user.is_active:
        raise TokenRefused(f"{user.username} is switched off: an admin can switch them on.")
    now = timezone.now()
    if used_at is None or now - used_at > USED_EVERY:
        ApiToken.objects.filter(pk=key).update(used_at=now)
    return Holder(signed, user)


async def token_check_async(text: str) -> Holder:
    """Return whoever a token speaks for, from an event loop; raises `TimeoutError` when the database says nothing."""
    async with asyncio.timeout(ANSWER_S):
        return await asyncio.get_running_loop().run_in_executor(_threads, _check_alone, text)


def token_check_soon(text: str) -> Holder:
    """Return whoever a token speaks for, on a connection of its own; `TimeoutError` when the database says nothing."""
    return _threads.submit(_check_alone, text).result(ANSWER_S)


def token_digest(text: str) -> str:
    """Return what is stored of a token."""
    return hashlib.sha256(text.encode()).hexdigest()


def scope_missing(signed: Signed, scope: str) -> str:
    """Say why a token does not carry a scope; empty when it does."""
    if scope in signed.scopes:
        return ""
    return f"This takes the scope {scope}; the token has {', '.join(signed.scopes) or 'none'}."


def role_missing(person: User, scope: str) -> str:
    """Say why a person's role does not reach for a scope; empty when it does."""
    needed = Scope(scope).role
    return (
        "" if person.may(needed) else f"This takes the role {needed.value}; {person.get_username()}'s is {person.role}."
    )


def _check_alone(text: str) -> Holder:
    close_old_connections()
    try:
        return token_check(text)
    finally:
        close_old_connections()


def _signer() -> signing.Signer:
    # a dot, not Django's colon: the header's grammar has no colon in it
    return signing.Signer(sep=".", salt=SALT)
