"""Every version of every message that was ever on the bus can still be read."""

import re

import pytest

from apps.common.messages import decode, encode
from apps.common.topics import Topic, TopicKind, topics_registered
from tests.golden.samples import FOLDER, golden_path, own_topics, sample

NAME = re.compile(r"(?P<kind>[a-z]+)-(?P<name>.+)\.v(?P<version>\d+)\.msgpack")


def _id(topic: Topic) -> str:
    return f"{topic.kind}-{topic.name}"


@pytest.mark.parametrize("topic", own_topics(), ids=_id)
def test_the_newest_version_is_kept_and_unchanged(topic):
    path = golden_path(topic, topic.message.version)
    assert path.exists(), f"run `python -m tests.golden.samples` and commit {path.name}"
    kept, now = path.read_bytes(), encode(sample(topic.message))
    assert kept == now, f"{topic.message.__name__} changed its fields: raise `version` and add an upcaster"
    assert decode(topic.message, kept) == sample(topic.message)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.msgpack")), ids=lambda path: path.name)
def test_every_kept_version_can_still_be_read(path):
    found = NAME.fullmatch(path.name)
    name = "" if found["name"] == "all" else found["name"]
    topics = {(topic.kind, topic.name): topic for topic in topics_registered()}
    topic = topics[(TopicKind(found["kind"]), name)]
    assert isinstance(decode(topic.message, path.read_bytes()), topic.message)
