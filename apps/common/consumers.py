"""The one socket of a page: who may open it, and what it may ask of the hub."""

import logging
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec
from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings
from django.http.request import split_domain_port, validate_host

from apps.common.hub.core import hub_current
from apps.common.hub.feeds import Client
from apps.common.hub.registry import ROLES
from apps.common.hub.writers import writer_of

SIGNED_OUT = 4401
FOREIGN_ORIGIN = 4403
BAD_MESSAGE = 4400
MESSAGE_BYTES = 65_536

logger = logging.getLogger(__name__)


class Ask(msgspec.Struct, forbid_unknown_fields=True):
    """What a page says: topics to add, with the numbers it has, or to leave."""

    op: Literal["sub", "unsub"]
    topics: list[str]
    since: dict[str, int] = {}


_decoder = msgspec.json.Decoder(Ask)


class HubConsumer(AsyncWebsocketConsumer):
    """Admits people of our own pages and passes what they ask to the hub. Frames go from the hub to the socket."""

    channel_layer_alias = None  # nothing comes to it by the channel layer
    client: Client | None = None

    async def connect(self) -> None:
        """Accept, or refuse with 4403 (foreign Origin) or 4401 (nobody signed in)."""
        if not origin_allowed(self.scope):
            await self.close(FOREIGN_ORIGIN)
            return
        person = person_of(self.scope)
        if person is None:
            await self.close(SIGNED_OUT)
            return
        await self.accept()
        self.client = hub_current().join(person, writer_of(self.base_send))

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Take one request; what does not fit closes the socket with 4400 and the reason."""
        if self.client is None:
            return
        try:
            if text_data is None or len(text_data) > MESSAGE_BYTES:
                raise msgspec.ValidationError(f"text of at most {MESSAGE_BYTES} bytes is expected")
            ask = _decoder.decode(text_data)
        except msgspec.DecodeError as error:
            await self.close(BAD_MESSAGE, str(error)[:100])
            return
        if ask.op == "sub":
            await hub_current().subscribe(self.client, ask.topics, ask.since)
        else:
            hub_current().unsubscribe(self.client, ask.topics)

    async def websocket_disconnect(self, message: dict[str, Any]) -> None:
        """Leave the hub."""
        if self.client is not None:
            hub_current().leave(self.client)
        raise StopConsumer


def origin_allowed(scope: dict[str, Any]) -> bool:
    """Say whether the Origin header names the very host that was asked, and that host is ours. None is refused."""
    headers = dict(scope.get("headers", []))
    origin = urlsplit(headers.get(b"origin", b"").decode("latin-1"))
    host = headers.get(b"host", b"").decode("latin-1").lower()
    if origin.scheme not in ("http", "https") or not host or origin.netloc.lower() != host:
        return False
    name, _ = split_domain_port(host)
    return bool(name) and validate_host(name, settings.ALLOWED_HOSTS)


def person_of(scope: dict[str, Any]) -> Any:
    """Return the signed-in person with a role; None when nobody is."""
    person = scope.get("user")
    if person is None or not person.is_authenticated or not person.is_active:
        return None
    return person if getattr(person, "role", "") in ROLES else None
