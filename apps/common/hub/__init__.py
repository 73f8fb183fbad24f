"""The hub: one bus subscription per web process; each message is encoded once and handed to every socket.

Apps register their topics with `register_topic`; the socket's consumer is `apps.common.consumers`.
"""

from apps.common.hub.core import Hub, hub_current, hub_person_changed
from apps.common.hub.registry import HubTopic, hub_topic, register_topic, user_may

__all__ = ["Hub", "HubTopic", "hub_current", "hub_person_changed", "hub_topic", "register_topic", "user_may"]
