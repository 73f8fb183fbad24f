"""A process that sends risk-adding orders through the send gate as fast as they go.

Each order is too small for the venue, so that none of them rests; that the request arrived is all that counts.
"""

import asyncio
import secrets
import sys
from decimal import Decimal

import django
import uvloop


class Judge:
    """The desk's judge without a desk: the lease holds, the kill switch is read."""

    def __init__(self, reader) -> None:
        self._reader = reader

    def lease_allows(self) -> bool:
        return True

    def kill_verdict(self, scopes):
        return self._reader.verdict(scopes)


async def main(rest: str, key: str, secret: str) -> None:
    from apps.execution.brokers.base import Market, OrderRequest
    from apps.execution.brokers.bybit.client import BybitClient
    from apps.execution.brokers.bybit.parsers import order_body
    from apps.execution.brokers.gate import SendGate, Sending, sending
    from apps.market.providers import configuration_make
    from apps.risk.selectors import KillReader
    from trader.core.types import GateRefused, VenueError

    reader = KillReader(mirror=False)
    await reader.start()
    configuration = configuration_make("bybit", rest, rest.replace("http", "ws"))
    client = BybitClient(
        {**configuration, "apiKey": key, "secret": secret}, SendGate(Judge(reader), wait_s=0.0), 1000, 5.0
    )
    await client.open()
    one = Decimal("0.001")
    market = Market(1, "BTC/USDT", "BTCUSDT", "spot", "BTC", "USDT", "USDT", one, one, one, one)
    print("ready", flush=True)
    while True:
        sending.set(Sending(adds_risk=True))
        request = OrderRequest(secrets.token_hex(16), market, "buy", "limit", Decimal("0.00000001"), Decimal("1"))
        try:
            await client.call("private_post_v5_order_create", order_body(request, request.client_id))
        except GateRefused:
            await asyncio.sleep(0.002)
        except VenueError:
            pass


if __name__ == "__main__":
    django.setup()
    uvloop.run(main(*sys.argv[1:]))
