"""PostgreSQL is really stopped, then frozen: a token's signature admits engaging the kill switch, and nothing else."""

import time

import pytest
from channels.testing import WebsocketCommunicator
from django.db import connections

from apps.common.models import AuditEntry
from apps.risk.killswitch.acts import kill_journal_book
from apps.risk.killswitch.overview import kept_forget
from apps.risk.selectors import kill_states
from apps.users.models import ApiToken, User
from apps.users.services import api_token_create, api_token_revoke
from tests import servers
from tests.apps.api.conftest import PASSWORD, Program
from tests.apps.risk.servers import pause, resume
from trader.runtime.servers import EmbeddedPostgres

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.stack]


@pytest.fixture
def postgres(desk):
    """The run's own PostgreSQL: it is up again afterwards, whatever a test does to it."""
    found = [server for server in servers._servers if isinstance(server, EmbeddedPostgres)]
    if not found:
        pytest.skip("the database was given from outside: it is not ours to stop")
    yield found[0]
    resume(found[0])
    if not found[0].is_alive():
        found[0].start()
    connections.close_all()


@pytest.fixture
def gone(postgres):
    """Return what stops it."""

    def stop() -> None:
        connections.close_all()
        postgres.stop()
        assert not postgres.is_alive()

    return stop


def expired(person: User) -> Program:
    return Program(api_token_create(user=person, name="old", scopes=["kill:engage"], by="test", days=1e-9)[1])


def test_the_signature_alone_engages_the_kill_switch_and_opens_nothing_else(postgres, gone, desk, program, people):
    trader, admin, reader, old = (
        program("trader"),
        program("admin"),
        program("viewer", "read"),
        expired(people["trader"]),
    )
    gone()
    done = trader.post("/kill/engage", {"reason": "the database is gone"})
    assert done.status == 200, done.json
    assert (done.json["state"], done.json["by"]) == ("engaged", "trader (token program of trader)")
    assert {place for place, words in done.json["written"].items() if words == "ok"} == {"bus", "file"}
    kept_forget()
    assert kill_states()["all"].state == "engaged"
    for path in ("/orders", "/token", "/kill", "/status", "/openapi.json"):
        assert admin.get(path).status == 503, path
    order = {"account": 1, "instrument": 1, "side": "buy", "quantity": "1"}
    assert admin.post("/orders", order, "k" * 32).status == 503
    assert admin.post("/deployments", {"strategy": "mean_reversion", "account": 1}).status == 503
    assert admin.post("/kill/release", {"reason": "all is well", "password": PASSWORD}).status == 503
    assert reader.post("/kill/engage").status == 403
    assert old.post("/kill/engage").status == 401
    assert Program(trader.token[:-3] + "AAA").post("/kill/engage").status == 401
    assert Program("").post("/kill/engage").status == 401
    postgres.start()
    assert trader.get("/kill").json["scopes"][0]["state"] == "engaged"
    kill_journal_book()
    assert AuditEntry.objects.get(action="kill switch engaged").actor == "trader (token program of trader)"


def test_a_revoked_token_still_stops_trading_while_nobody_can_say_that_it_was_revoked(postgres, gone, program):
    trader = program("trader")
    api_token_revoke(token=ApiToken.objects.get(), by="test")
    assert trader.post("/kill/engage").status == 401
    gone()
    assert trader.post("/kill/engage").status == 200
    postgres.start()
    assert trader.post("/kill/engage").status == 401


async def test_no_socket_opens(postgres, program):
    import asyncio

    from trader.asgi import application

    token = (await asyncio.to_thread(program, "admin")).token
    await asyncio.to_thread(postgres.stop)
    headers = [(b"host", b"127.0.0.1:8800"), (b"authorization", f"Bearer {token}".encode())]
    assert await WebsocketCommunicator(application, "/api/v1/log/", headers=headers).connect(10) == (False, 1013)


def test_a_frozen_database_is_not_waited_for(postgres, program):
    trader = program("trader")
    connections.close_all()
    pause(postgres)
    began = time.monotonic()
    done = trader.post("/kill/engage")
    took_s = time.monotonic() - began
    resume(postgres)
    assert done.status == 200, done.json
    assert done.json["written"]["file"] == "ok"
    assert took_s < 10, f"{took_s:.1f} s: a second for the token, one for the record"
