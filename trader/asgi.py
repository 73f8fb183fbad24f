"""The ASGI entry: pages by Django, sockets by Channels."""

import os

from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "trader.settings")
pages = get_asgi_application()  # sets Django up: what follows imports models

from django.conf import settings  # noqa: E402
from django.utils.module_loading import import_string  # noqa: E402

import_string("apps.common.logs.logs_configure")(os.environ.get("QD_PROCESS", "web"))
person = import_string("apps.users.sockets.PersonMiddleware")
application = ProtocolTypeRouter(
    {
        "http": pages,
        "websocket": person(URLRouter(import_string(settings.WEBSOCKET_URLPATTERNS))),
    }
)
