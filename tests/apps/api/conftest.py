"""Programs that use the API: tokens of people with roles, a desk to ask about, and a client that sends JSON."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from django.test import Client

from apps.users.models import Scope, User
from apps.users.services import api_token_create
from tests.apps.common.conftest import no_sessions_left
from tests.apps.dashboard.conftest import PASSWORD, desk, fresh, kill_clear, order_add, people, signal_add

__all__ = ["PASSWORD", "desk", "fresh", "kill_clear", "no_sessions_left", "order_add", "people", "signal_add"]
API = "/api/v1"
EVERY = tuple(Scope.values)


class Program:
    """A client with a token: `get` and `post` of paths under `/api/v1`, JSON both ways."""

    def __init__(self, token: str, person: User | None = None) -> None:
        self.token, self.person = token, person
        self.client = Client(headers={"Authorization": f"Bearer {token}"} if token else {})

    def get(self, path: str, **query: Any) -> SimpleNamespace:
        """Ask for something."""
        return _answer(self.client.get(API + path, query))

    def post(self, path: str, body: Any = None, key: str = "") -> SimpleNamespace:
        """Do something; `key` is the idempotency key."""
        headers = {"Idempotency-Key": key} if key else {}
        sent = {} if body is None else body
        return _answer(self.client.post(API + path, sent, content_type="application/json", headers=headers))


def _answer(answer: Any) -> SimpleNamespace:
    kind = answer.headers["Content-Type"]
    assert kind in ("application/json", "application/problem+json"), (kind, answer.content[:300])
    assert (kind == "application/problem+json") is (answer.status_code >= 400)
    return SimpleNamespace(status=answer.status_code, json=answer.json(), headers=answer.headers)


@pytest.fixture
def program(people: dict[str, User]) -> Callable[..., Program]:
    """Return a maker of programs: `program("trader")`, or `program("trader", "read", "orders")`."""

    def make(role: str = "admin", *scopes: str) -> Program:
        person = people[role]
        wanted = scopes or [scope for scope in EVERY if person.may(Scope(scope).role)]
        _, text = api_token_create(user=person, name=f"program of {role}", scopes=wanted, by="test")
        return Program(text, person)

    return make
