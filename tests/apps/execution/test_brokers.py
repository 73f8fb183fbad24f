"""Every broker, and the template to copy from, has the protocol's methods with the protocol's signatures."""

import asyncio
import inspect
from pathlib import Path
from types import SimpleNamespace

import pytest

from apps.common.ending import tasks_end
from apps.execution.brokers import _template, registry
from apps.execution.brokers._template.adapter import TemplateBroker
from apps.execution.brokers.base import Broker, StreamState
from apps.execution.brokers.bybit.adapter import BybitBroker
from tests.apps.execution.test_parsers import ID, LINEAR, SPOT

METHODS = {
    name: member
    for name, member in vars(Broker).items()
    if inspect.isfunction(member) and not name.startswith("_")
}  # fmt: skip
WORKS = {"market_add", "encode", "decode", "is_ours"}
ARGUMENTS = {"kind": "spot", "since_ns": None, "client_id": ID, "market": SPOT, "markets": [SPOT], "orders": [],
             "order": None, "offset_ms": 0}  # fmt: skip


def shape(function: object) -> list[tuple[str, object, bool]]:
    """Names and kinds of parameters, and whether one may be left out."""
    found = inspect.signature(function).parameters.values()
    return [(one.name, one.kind, one.default is not inspect.Parameter.empty) for one in found]


@pytest.mark.parametrize("broker", [BybitBroker, TemplateBroker])
@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_broker_has_every_method_of_the_protocol_as_it_is_called(broker: type, name: str) -> None:
    own = getattr(broker, name, None)
    assert own is not None, f"{broker.__name__} lacks {name}"
    assert inspect.iscoroutinefunction(own) == inspect.iscoroutinefunction(METHODS[name])
    assert shape(own) == shape(METHODS[name])


async def test_a_row_that_cannot_be_read_is_told_and_ends_no_stream() -> None:
    broker = BybitBroker({}, [SPOT], ID[:4], gate=None)
    frames: asyncio.Queue = asyncio.Queue()
    broker._client = SimpleNamespace(exchange=SimpleNamespace(frames=frames))
    fill = {"category": "spot", "symbol": "BTCUSDT", "side": "Buy", "execId": "e", "orderId": "o", "execQty": "1",
            "execPrice": "100", "execFee": "0.1", "execTime": "1700000000000"}  # fmt: skip
    unread = [{**fill, "execQty": "a lot"}, {"symbol": "BTCUSDT"}, "no row at all"]
    pump = asyncio.create_task(broker._pump())
    frames.put_nowait(("execution", {"data": [*unread, fill]}))
    frames.put_nowait(("execution", {"data": [{**fill, "execId": "next"}]}))
    async with asyncio.timeout(5):
        told = [await broker.next_event() for _ in range(5)]
    assert told[:3] == [StreamState.UNREAD] * 3
    assert [one.fill_id for one in told[3:]] == ["e", "next"]
    assert await tasks_end([pump]) == set()


def template() -> TemplateBroker:
    return TemplateBroker({"apiKey": "k"}, [SPOT], ID[:4], gate=None)


def test_the_template_knows_its_instruments_and_ids_and_cannot_be_chosen() -> None:
    broker = template()
    broker.market_add(LINEAR)
    assert set(broker.markets) == {("spot", "BTCUSDT"), ("linear", "BTCUSDT")}
    assert broker.decode(broker.encode(ID)) == ID
    assert broker.is_ours(ID)
    assert not broker.is_ours("ffff" + ID[4:])
    assert broker.decode("other-1") is None
    assert set(broker.cancel_batch) == {"spot", "linear"}
    assert "template" not in registry.ADAPTERS
    with pytest.raises(LookupError, match="bybit"):
        registry.broker_make("template", {}, [], "0a1b", None)


@pytest.mark.parametrize("name", sorted(set(METHODS) - WORKS))
def test_what_the_template_lacks_says_so_with_its_name(name: str) -> None:
    own = getattr(template(), name)
    given = {one: ARGUMENTS[one] for one, _, is_optional in shape(own) if not is_optional}

    async def call() -> None:
        answer = own(**given)
        if inspect.isawaitable(answer):
            await answer

    with pytest.raises(NotImplementedError, match=rf"\.{name} is not filled in: see brokers/_template/README\.md"):
        asyncio.run(call())


def test_the_readme_of_the_template_names_what_there_is() -> None:
    page = (Path(_template.__file__).parent / "README.md").read_text()
    assert "VenueRejected" in page
    assert {"`Refused`"} & set(page.split()) == set()
