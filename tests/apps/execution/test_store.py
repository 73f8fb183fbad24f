"""The desk's store on a real database: what is planned before the first order, and what that leaves behind."""

import pytest
from django.conf import settings

from apps.common.bus import Bus
from apps.common.leases import LeaseKeeper
from apps.execution.desk.store import FenceLost, Store

pytestmark = pytest.mark.django_db(transaction=True)
ACCOUNT = 7
PLANS = "SELECT generic_plans + custom_plans FROM pg_prepared_statements WHERE statement LIKE '%execution_order%'"


@pytest.fixture
async def keeper():
    keeper = LeaseKeeper("test")
    yield keeper
    await keeper.close()


@pytest.fixture
async def made(keeper):
    lease = await keeper.acquire("desk", str(ACCOUNT))
    bus = Bus(settings.REDIS_URL)
    stores = [Store(ACCOUNT, lease.fence, bus), Store(ACCOUNT, lease.fence - 1, bus)]
    yield stores
    for store in stores:
        await store.close()
    await bus.close()


async def test_what_an_order_commits_is_planned_before_the_first_and_nothing_is_left_behind(made):
    store, _ = made
    await store.warm()
    planned = await store.query(PLANS, lane="path")
    assert len(planned) == 2
    assert min(uses for (uses,) in planned) >= 4, "it was used until the server had one plan for all"
    for table in ("execution_order", "strategies_decision", "common_outbox", "common_topicsequence"):
        assert await store.query(f"SELECT count(*) FROM {table}") == [(0,)]


async def test_a_desk_that_was_taken_over_learns_it_there(made):
    _, late = made
    with pytest.raises(FenceLost, match="is not the newest"):
        await late.warm()
