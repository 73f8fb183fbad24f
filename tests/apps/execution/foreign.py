"""Another program that trades with the same key."""

import secrets

from asgiref.sync import sync_to_async

from apps.execution.brokers.bybit.client import BybitClient
from apps.execution.brokers.gate import SendGate, Sending, sending
from apps.execution.selectors import account_load, credential_configuration
from tests.apps.execution.living import Living


async def foreign_order(made: Living, **body: str) -> None:
    """Another program with the same key places an order."""
    configuration = await sync_to_async(lambda: credential_configuration(account_load(made.account_id)))()
    client = BybitClient(configuration, SendGate(made.parts.core), 1000, 5.0)
    await client.open()
    token = sending.set(Sending(adds_risk=False))
    try:
        await client.call(
            "private_post_v5_order_create",
            {"category": "spot", "symbol": "BTCUSDT", "orderLinkId": f"other-{secrets.token_hex(4)}", **body},
        )
    finally:
        sending.reset(token)
        await client.close()


LIMIT = {"side": "Buy", "orderType": "Limit", "qty": "1", "price": "90", "timeInForce": "GTC"}
MARKET = {"side": "Buy", "orderType": "Market", "qty": "2", "marketUnit": "baseCoin"}
