"""How a desk's questions to its venue share the rate limits with everybody else."""

from collections.abc import Awaitable, Callable

from apps.common.errors import GovernorRefused
from apps.common.governor import Governor, Priority
from trader.core.types import VenueBusy

WAIT_S = 2.0
BeforeQuery = Callable[[], Awaitable[None]]


def query_throttle(governor: Governor, provider: str, address: str, key: str) -> BeforeQuery:
    """Return what takes a token before each question; raises `VenueBusy` when none is free in time.

    A desk asks only to reconcile, to end what is unknown, and to sweep: that goes on with the bus gone, from the
    local half of the budget, as cancels do.
    """

    async def before_query() -> None:
        try:
            await governor.take(provider, address, key, "query", priority=Priority.REDUCE, timeout_s=WAIT_S)
        except GovernorRefused as error:
            raise VenueBusy(str(error)) from error

    return before_query
