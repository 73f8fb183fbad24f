"""A topic with a table behind it, and browsers for it, as the tests of the hub need them."""

import json
from types import SimpleNamespace

from django.db import transaction

from apps.common.hub.registry import register_topic
from apps.common.models import Job
from apps.common.outbox import outbox_add, outbox_last
from tests.apps.common.samples import Note

register_topic("test.price", "state")
register_topic("test.quote", "state")
register_topic("test.large", "state")
register_topic("test.price.secret", "state", permission="admin")
register_topic("test.others", "log")
register_topic(
    "test.notes", "log", "tests.apps.common.hub_samples.notes_snapshot", "tests.apps.common.hub_samples.notes_html"
)

VIEWER = SimpleNamespace(id=1, role="viewer", is_authenticated=True, is_active=True)
ADMIN = SimpleNamespace(id=2, role="admin", is_authenticated=True, is_active=True)


def notes_snapshot(user, topic):
    """The notes as the table has them, with the number read before the rows."""
    number = outbox_last(topic)
    rows = Job.objects.filter(kind="note").order_by("total").values_list("total", "error")
    return number, [{"number": total, "text": title} for total, title in rows]


def notes_html(value):
    """A row; from a message or from a snapshot's dictionary."""
    number, text = (value["number"], value["text"]) if isinstance(value, dict) else (value.number, value.text)
    return f"<li>{number} {text}</li>"


def note_write(number, text):
    """Write a note and say so, in one transaction."""
    with transaction.atomic():
        Job.objects.update_or_create(kind="note", total=number, defaults={"error": text})
        outbox_add(("test.notes", Note(text=text, number=number)))


class Browser:
    """A browser that applies frames to what it shows; a slow one leaves them unread."""

    def __init__(self, slow=False):
        self.slow = slow
        self.unread = []
        self.shown = {}
        self.states = {}
        self.numbers = {}
        self.frames = []
        self.refused = {}
        self.snapshots = 0
        self.closed = None

    def unsent(self):
        return sum(len(text) for text in self.unread)

    def write(self, frame):
        self.unread.append(frame.text)
        if not self.slow:
            self.read()

    def close(self, code):
        self.closed = code

    def abort(self):
        self.closed = "aborted"

    def read(self):
        unread, self.unread = self.unread, []
        for text in unread:
            found = json.loads(text)
            for frame in found if isinstance(found, list) else [found]:
                self.frames.append(frame)
                getattr(self, f"on_{frame['k']}")(frame)

    def on_state(self, frame):
        self.states.update(frame["v"])

    def on_snap(self, frame):
        self.snapshots += 1
        self.numbers[frame["t"]] = frame["n"]
        if frame["t"] == "test.notes":
            self.shown = {row["number"]: row["text"] for row in frame["v"]}

    def on_log(self, frame):
        assert frame["n"] == self.numbers[frame["t"]] + 1, f"{frame['n']} does not follow {self.numbers}"
        self.numbers[frame["t"]] = frame["n"]
        self.shown[frame["v"]["number"]] = frame["v"]["text"]

    def on_refused(self, frame):
        self.refused[frame["t"]] = frame["why"]

    def on_ping(self, frame):
        pass
