"""The sockets of the web process."""

from django.urls import path

from apps.common.consumers import HubConsumer

websocket_urlpatterns = [path("ws/", HubConsumer.as_asgi())]
