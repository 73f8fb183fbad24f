"""What browsers may ask the hub for: topics with their snapshot, renderer and permission."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from apps.common.dotted import imported
from apps.common.errors import TopicUnknown

ROLES = ("viewer", "annotator", "trader", "admin")
Snapshot = Callable[[Any, str], tuple[int, list[Any]]]
Renderer = Callable[[Any], str]


@dataclass(frozen=True)
class HubTopic:
    """A topic, or a prefix of state topics, that sockets may subscribe to."""

    name: str
    kind: Literal["state", "log"]
    snapshot: str | None
    renderer: str | None
    permission: str

    def snapshot_function(self) -> Snapshot | None:
        """Return the function that reads (number, values) from the database; None where there is none."""
        return imported(self.snapshot) if self.snapshot else None

    def render_function(self) -> Renderer | None:
        """Return the function that makes a row's HTML of a message; None where there is none."""
        return imported(self.renderer) if self.renderer else None


_topics: dict[str, HubTopic] = {}


def register_topic(
    name: str,
    kind: Literal["state", "log"],
    snapshot: str | None = None,
    renderer: str | None = None,
    permission: str = "viewer",
) -> None:
    """Let sockets subscribe to a topic of the bus; upper apps call it in `AppConfig.ready()`.

    `snapshot` and `renderer` are dotted paths. `snapshot(user, topic)` is synchronous and returns the number it was
    taken at, read *before* the rows (`outbox_last`), and the values in the page's order. `renderer(value)` makes the
    row's HTML, the same for everyone, without the database. `permission` is the least role that may look.
    """
    if permission not in ROLES:
        raise ValueError(f"topic {name!r}: permission {permission!r} is none of {', '.join(ROLES)}")
    _topics[name] = HubTopic(name, kind, snapshot, renderer, permission)
    hub_topic.cache_clear()


@lru_cache(maxsize=8192)
def hub_topic(name: str) -> HubTopic:
    """Return the registration that `name` falls under: itself or, for state topics, its longest prefix."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        found = _topics.get(".".join(parts[:length]))
        if found is not None and (found.kind == "state" or length == len(parts)):
            return found
    raise TopicUnknown(f"there is no topic {name!r}")


def user_may(user: Any, permission: str) -> bool:
    """Say whether this person's role includes `permission`."""
    role = getattr(user, "role", "")
    return role in ROLES and ROLES.index(role) >= ROLES.index(permission)
