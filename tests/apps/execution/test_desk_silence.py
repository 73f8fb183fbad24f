"""A socket that says nothing: new risk is refused with that reason, a cancel passes, and both end with the silence."""

import pytest

from apps.execution.desk.watch import Watch
from apps.risk.models import Refusal
from tests.apps.execution.living import SPOT, living
from tests.apps.execution.wishes import command, limit_orders
from tests.apps.risk.fixtures import kill_clear

__all__ = ["kill_clear"]
pytestmark = [pytest.mark.stack, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("kill_clear")]


async def test_while_the_feed_or_the_private_socket_is_silent_new_risk_is_refused_and_a_cancel_passes() -> None:
    async with living() as made:
        blocks = made.parts.core.blocks
        wish = {"instrument_id": made.instrument(SPOT), "side": "buy", "kind": "limit", "quantity": "1", "price": "90"}
        for socket, name, words in (
            ("public", "feed", "the feed's connection is silent"),
            ("private", "socket", "the private socket has been silent for"),
        ):
            await limit_orders(made, SPOT, 1, price=90.0)
            (resting,) = made.books.open.values()
            made.exchange.fault(fault="silent_socket", socket=socket)
            await made.until(lambda: blocks.get(name, "").startswith(words), what=f"{socket} silence is seen")  # noqa: B023
            assert not [other for other in blocks if not other.startswith(name)]
            refused = await command(made, "order", **wish)
            assert (refused.state, "silent" in refused.result or "not connected" in refused.result) == ("refused", True)
            await made.flush()
            row = await Refusal.objects.order_by("-created_at").afirst()
            assert row.check_name.startswith(name)
            cancelled = await command(made, "cancel", client_id=resting.client_id)
            assert cancelled.state == "done", cancelled.result
            assert made.exchange.call("GET", "/state")["accounts"][0]["orders"] == []
            made.exchange.call("DELETE", "/faults")
            await made.until(lambda: not blocks and not made.books.open, what=f"{socket} is heard again")
            accepted = await command(made, "order", **wish)
            assert accepted.state == "done", accepted.result
            (again,) = made.books.open.values()
            assert (await command(made, "cancel", client_id=again.client_id)).state == "done"
            await made.until(lambda: not made.books.open, what="nothing rests")


async def test_no_word_from_the_feed_blocks_whatever_it_said_last() -> None:
    async with living() as made:
        core, watch = made.parts.core, made.parts.watch
        assert "feed" not in core.blocks
        watch._heard_at -= 60.0
        watch.judge()
        name, why = core.why_no_risk("manual", made.instrument(SPOT))
        assert (name, why.startswith("no word from the feed for 6")) == ("feed", True)
        await made.until(lambda: "feed" not in core.blocks, what="its next word ends that")
        fresh = Watch(core, made.parts.guard)
        fresh.judge()
        assert core.blocks["feed"] == "no word from the feed yet"
