"""The ASGI entry: static files first, pages by Django, sockets by Channels."""

import os

from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "trader.settings")
pages = get_asgi_application()  # sets Django up: what follows imports models

from django.conf import settings  # noqa: E402
from django.utils.module_loading import import_string  # noqa: E402

import_string("apps.common.logs.logs_configure")(os.environ.get("QD_PROCESS", "web"))
person = import_string("apps.users.sockets.PersonMiddleware")
page_sockets = person(URLRouter(import_string(settings.WEBSOCKET_URLPATTERNS)))
program_sockets = URLRouter(import_string("trader.api.sockets"))


async def sockets(scope, receive, send):
    """Hand a socket to the pages' own, which knows people by cookie, or to the programs', which knows tokens only."""
    inner = program_sockets if scope["path"].startswith("/api/") else page_sockets
    return await inner(scope, receive, send)


reads = import_string("apps.common.api.lanes.Lanes")(pages, "/api/v1/")
files = import_string("apps.common.statics.statics_before")(reads)
application = ProtocolTypeRouter({"http": files, "websocket": sockets})
