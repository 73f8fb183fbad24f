"""Who asks the API: the bearer token, and the scope that an operation takes."""

import logging
from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest
from ninja.security import HttpBearer

from apps.common.api import Problem
from apps.common.api.problems import unauthorised
from apps.users import tokens
from apps.users.models import Scope
from apps.users.tokens import Holder, Signed, TokenRefused

logger = logging.getLogger(__name__)
FIX_SCOPE = "Make a token with it: manage.py token create --scope …, or in the admin."
FIX_ROLE = "Ask an admin for the role."


class Token(HttpBearer):
    """Admits tokens with a scope whose person's role reaches. `request.auth` is their `Holder`."""

    openapi_bearerFormat = "qd_…"

    def __init__(self, scope: Scope) -> None:
        super().__init__()
        self.scope = scope

    def authenticate(self, request: HttpRequest, token: str) -> Any:
        """Return the token's holder, or raise the problem that says why not."""
        try:
            holder = tokens.token_check(token)
        except TokenRefused as refused:
            raise _refusal(refused) from None
        return self._admit(request, holder)

    def _admit(self, request: HttpRequest, holder: Holder) -> Holder:
        _scope_check(holder.token, self.scope)
        if words := tokens.role_missing(holder.person, self.scope):
            raise Problem(403, words, fix=FIX_ROLE)
        request.user = holder.person
        return holder


class TokenOrSignature(Token):
    """The same, but where the database does not answer, the signature alone admits: for engaging the kill switch only.

    `request.auth` is then what the signature vouches for. The database is asked on a connection of its own and not
    waited for longer than a second.
    """

    def authenticate(self, request: HttpRequest, token: str) -> Holder | Signed:
        """Return who holds the token, by the database or, without it, by its signature."""
        request.user = AnonymousUser()
        try:
            signed = tokens.token_read(token)
            _scope_check(signed, self.scope)
            return self._admit(request, tokens.token_check_soon(token))
        except TokenRefused as refused:
            raise _refusal(refused) from None
        except tokens.DATABASE_GONE as error:
            logger.warning("a token is taken by its signature, the database is gone (%s): %s", error, signed.by)
            return signed


def _scope_check(signed: Signed, scope: Scope) -> None:
    if words := tokens.scope_missing(signed, scope):
        raise Problem(403, words, fix=FIX_SCOPE)


def _refusal(refused: TokenRefused) -> Problem:
    return unauthorised(str(refused), "manage.py token create makes a token; so does the admin.")


READ = Token(Scope.READ)
ORDERS = Token(Scope.ORDERS)
DEPLOYMENTS = Token(Scope.DEPLOYMENTS)
KILL_ENGAGE = TokenOrSignature(Scope.KILL_ENGAGE)
KILL_RELEASE = Token(Scope.KILL_RELEASE)


def known(request: HttpRequest) -> bool:
    """Say whether whoever asks is known at all: by any token of ours, or signed in. For the API's description."""
    text = request.headers.get("authorization", "")
    if not text.lower().startswith("bearer "):
        return bool(request.user.is_authenticated)
    try:
        request.auth = tokens.token_check(text[7:].strip())  # type: ignore[attr-defined]
    except TokenRefused as refused:
        raise _refusal(refused) from None
    return True
