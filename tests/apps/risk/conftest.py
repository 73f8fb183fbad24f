"""What risk's tests stand on: an account with instruments, and a person."""

import pytest

from apps.strategies.models import Deployment
from apps.users.models import Role, User
from tests.apps.portfolio.conftest import account, epoch, linear, real_venue, spot, venue
from tests.apps.risk.fixtures import kill_clear

__all__ = ["account", "epoch", "kill_clear", "linear", "real_venue", "spot", "venue"]


@pytest.fixture
def person(db) -> User:
    return User.objects.create_superuser(username="ann", password="a long password of ann", role=Role.ADMIN)


@pytest.fixture
def deployment(account) -> Deployment:
    return deployment_new(account, "mean_reversion-1")


def deployment_new(of, key: str, predecessor: Deployment | None = None) -> Deployment:
    return Deployment.objects.create(
        key=key, strategy="mean_reversion", code_hash="x", universe_name="desk", account=of, predecessor=predecessor
    )
