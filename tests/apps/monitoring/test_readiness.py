"""Probes learn what is missing, without a sign-in, cheaply, and nothing that is a secret."""

from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from apps.common.models import Lease
from apps.monitoring import readiness as looks
from apps.monitoring.readiness import Readiness, readiness, readiness_look


@pytest.fixture(autouse=True)
def _forget():
    looks._last = None
    yield
    looks._last = None


@pytest.mark.django_db
def test_an_installation_whose_residents_run_nowhere_serves_and_says_so(client):
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json() == {"ready": True, "missing": [], "not_trading": ["relay: 1 of 1 run nowhere"]}
    Lease.objects.create(
        kind="relay", key="main", holder="x", fence=1, since=timezone.now(),
        expires_at=timezone.now() + timedelta(minutes=5),
    )  # fmt: skip
    assert readiness_look() == Readiness([], [])


@pytest.mark.django_db
def test_a_bus_that_is_gone_is_named_without_its_address(client, settings):
    settings.REDIS_URL = "redis://:secret@127.0.0.1:1/0"
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["missing"] == ["the bus does not answer"]
    assert b"secret" not in answer.content
    assert b"127.0.0.1" not in answer.content


@pytest.mark.django_db
def test_a_schema_of_another_version_is_named(monkeypatch):
    monkeypatch.setattr(looks, "_schema_known", False)
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'execution'")
    assert readiness_look().missing == ["the database's schema is not of this version: manage.py migrate"]


@pytest.mark.django_db
def test_a_flood_of_probes_asks_once_a_second(client, django_assert_num_queries):
    readiness()
    with django_assert_num_queries(0):
        for _ in range(20):
            assert client.get("/readyz").status_code == 200


def test_a_database_that_is_gone_is_named(client, monkeypatch):
    # no `db` mark: every query is refused, as by a server that is gone
    from django.db import OperationalError

    def gone(*_, **__):
        raise OperationalError("connection refused by db.internal")

    monkeypatch.setattr(connection, "cursor", gone)
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert "the database does not answer" in answer.json()["missing"]
    assert b"internal" not in answer.content
    assert client.get("/healthz").status_code == 200
