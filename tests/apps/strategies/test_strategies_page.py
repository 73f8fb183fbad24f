"""The Strategies page says which deployment takes no new risk, and why, in its desk's words."""

from datetime import timedelta

import pytest
from django.utils import timezone

from apps.common.models import Lease
from apps.strategies.models import Deployment
from tests.apps.dashboard.conftest import as_role, desk, fresh, kill_clear, people

__all__ = ["as_role", "desk", "fresh", "kill_clear", "people"]
pytestmark = pytest.mark.django_db(transaction=True)


def test_a_deployment_that_its_desk_blocks_says_why_while_that_desk_is_there(desk, as_role) -> None:
    key = Deployment.objects.get().key
    now = timezone.now()
    lease = Lease.objects.create(
        kind="desk", key=str(desk.account.pk), fence=1, since=now, expires_at=now + timedelta(minutes=1),
        meta={"state": "trading", "deployments": {key: "the code on disk is not the deployed one"}},
    )  # fmt: skip
    client = as_role("viewer")
    page = client.get("/strategies/").content.decode()
    assert "no new risk" in page
    assert "the code on disk is not the deployed one" in page
    Lease.objects.filter(pk=lease.pk).update(meta={"state": "trading", "deployments": {}})
    assert "no new risk" not in client.get("/strategies/").content.decode()


def test_a_deployment_that_does_without_stops_says_why(desk, as_role) -> None:
    client = as_role("viewer")
    assert "without protective stops" not in client.get("/strategies/").content.decode()
    Deployment.objects.update(no_stop_reason="hedged elsewhere")
    assert "without protective stops: hedged elsewhere" in client.get("/strategies/").content.decode()
