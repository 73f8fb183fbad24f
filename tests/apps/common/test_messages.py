"""Messages keep their types and versions on the wire; topics carry only their own."""

import msgspec
import pytest

from apps.common.errors import MessageError, MessageNewer, TopicUnknown
from apps.common.messages import decode, encode
from apps.common.topics import TopicKind, register_state, topic_decode, topic_encode, topic_of
from tests.apps.common.samples import Note, Price, Renamed


def test_a_message_comes_back_as_it_was():
    assert decode(Price, encode(Price(i=3, last=1.5))) == Price(i=3, last=1.5)


def test_an_old_version_is_lifted_through_every_step():
    old = msgspec.msgpack.encode((1, {"qty": 2.5}))
    assert decode(Renamed, old) == Renamed(size=2.5, currency="USDT")


def test_a_newer_version_parks_the_reader_with_a_reason():
    newer = msgspec.msgpack.encode((4, {"size": 2.5}))
    with pytest.raises(MessageNewer, match="Renamed is of version 4; this process knows 3"):
        decode(Renamed, newer)


def test_a_version_without_upcaster_is_refused():
    with pytest.raises(MessageError, match="no upcaster from version 0"):
        decode(Renamed, msgspec.msgpack.encode((0, {"size": 1.0})))


@pytest.mark.parametrize("data", [b"", b"\x01", msgspec.msgpack.encode((1, {"i": "three"}))])
def test_what_is_no_message_is_refused(data):
    with pytest.raises(MessageError, match="Price"):
        decode(Price, data)


def test_the_longest_registered_prefix_names_the_topic():
    register_state("test.price.special", Note)
    assert topic_of(TopicKind.STATE, "test.price.7").message is Price
    assert topic_of(TopicKind.STATE, "test.price.special.7").message is Note


def test_a_log_topic_is_named_exactly():
    with pytest.raises(TopicUnknown):
        topic_of(TopicKind.LOG, "test.notes.7")


def test_a_topic_refuses_another_type():
    with pytest.raises(MessageError, match=r"test\.price\.1 carries Price, not Note"):
        topic_encode(TopicKind.STATE, "test.price.1", Note(text="no"))


def test_a_topic_decodes_what_it_encoded():
    data = topic_encode(TopicKind.LOG, "test.notes", Note(text="x", number=4))
    assert topic_decode(TopicKind.LOG, "test.notes", data) == Note(text="x", number=4)


def test_a_prefix_cannot_change_its_type():
    with pytest.raises(ValueError, match="registered as Price already"):
        register_state("test.price", Note)
