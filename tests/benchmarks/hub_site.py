"""The web process of the hub's bench: the product's hub, and beside it what it is compared with."""

import asyncio
import os
from types import SimpleNamespace

import django
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.urls import path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "trader.settings")
django.setup()

from django.conf import settings  # noqa: E402

from apps.common.consumers import HubConsumer  # noqa: E402
from apps.common.redis_clients import blocking_client  # noqa: E402
from tests.apps.common import hub_samples  # noqa: E402, F401

PERSON = SimpleNamespace(id=1, role="viewer", is_authenticated=True, is_active=True)


class BareHub(AsyncWebsocketConsumer):
    """One Redis subscription for the process; each message is sent as it comes to every socket, one by one."""

    channel_layer_alias = None
    everyone: set["BareHub"] = set()
    reading: "asyncio.Task[None] | None" = None

    async def connect(self):
        await self.accept()
        BareHub.everyone.add(self)
        if BareHub.reading is None:
            BareHub.reading = asyncio.create_task(self.read())

    async def disconnect(self, code):
        BareHub.everyone.discard(self)

    @staticmethod
    async def read():
        pubsub = blocking_client(settings.REDIS_URL).pubsub(ignore_subscribe_messages=True)
        await pubsub.subscribe("bare")
        async for message in pubsub.listen():
            text = message["data"].decode()
            for consumer in list(BareHub.everyone):
                await consumer.send(text_data=text)


class Group(AsyncWebsocketConsumer):
    """Channels' own way: a group per page."""

    groups = ["bench"]

    async def tick(self, event):
        await self.send(text_data=event["text"])


def signed_in(inner):
    """Let everyone be the same viewer: signing in is not what is measured."""

    async def application(scope, receive, send):
        return await inner({**scope, "user": PERSON}, receive, send)

    return application


sockets = URLRouter(
    [path("ws/", HubConsumer.as_asgi()), path("bare/", BareHub.as_asgi()), path("group/", Group.as_asgi())]
)
application = ProtocolTypeRouter({"websocket": signed_in(sockets)})
