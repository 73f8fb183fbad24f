"""Writers: what is unsent is known, and a socket that takes nothing can be dropped."""

import asyncio
import functools
import struct

import pytest

from apps.common.hub.frames import Frame, parts_frame, state_frame
from apps.common.hub.writers import AsgiWriter, DaphneWriter, writer_of


class Gate:
    """An ASGI send that waits until it is opened."""

    def __init__(self):
        self.open = asyncio.Event()
        self.sent = []

    async def __call__(self, message):
        await self.open.wait()
        self.sent.append(message)


async def test_frames_wait_in_order_and_are_counted():
    gate = Gate()
    writer = writer_of(gate)
    assert isinstance(writer, AsgiWriter)
    for text in (b"one", b"three"):
        writer.write(Frame(text))
    await asyncio.sleep(0)
    assert writer.unsent() == 8
    gate.open.set()
    await asyncio.sleep(0.01)
    assert [message["text"] for message in gate.sent] == ["one", "three"]
    assert writer.unsent() == 0
    writer.write(Frame(b"again"))
    writer.close(4401)
    await asyncio.sleep(0.01)
    assert gate.sent[-2]["text"] == "again"
    assert gate.sent[-1] == {"type": "websocket.close", "code": 4401}


async def test_a_closed_socket_forgets_what_waits():
    async def broken(message):
        raise ConnectionResetError

    writer = AsgiWriter(broken)
    writer.write(Frame(b"x"))
    await asyncio.sleep(0.01)
    assert writer.unsent() == 0
    writer.close(1000)
    await asyncio.sleep(0.01)


async def test_aborting_drops_what_waits():
    gate = Gate()
    writer = AsgiWriter(gate)
    writer.write(Frame(b"never"))
    await asyncio.sleep(0)
    writer.abort()
    gate.open.set()
    await asyncio.sleep(0.01)
    assert [message["type"] for message in gate.sent] == ["websocket.close"]


@pytest.mark.parametrize("length", [1, 125, 126, 65_535, 65_536, 200_000])
def test_a_frame_has_the_header_of_its_length(length):
    frame = Frame(b"x" * length)
    first, second = frame.wire[:2]
    assert first == 0x81
    if length < 126:
        assert (second, len(frame.wire)) == (length, length + 2)
    elif length < 65_536:
        assert second == 126
        assert struct.unpack("!H", frame.wire[2:4]) == (length,)
    else:
        assert second == 127
        assert struct.unpack("!Q", frame.wire[2:10]) == (length,)
    assert frame.wire.endswith(frame.text)


def test_parts_are_one_object_or_an_array():
    assert parts_frame([b'{"n":1}']).text == b'{"n":1}'
    assert parts_frame([b'{"n":1}', b'{"n":2}']).text == b'[{"n":1},{"n":2}]'
    assert state_frame({"a.1": b"1", "b": b"{}"}).text == b'{"k":"state","v":{"a.1":1,"b":{}}}'


class Transport:
    """Twisted's transport as the writer knows it."""

    def __init__(self, takes):
        self.connected, self.dataBuffer, self.offset, self._tempDataLen = 1, b"", 0, 0
        self.written, self.aborted = b"", False
        self.socket = self
        self.family = None
        self.takes = takes
        self.out = b""

    def setsockopt(self, *_):
        pass

    def send(self, data):
        if self.takes == 0:
            raise BlockingIOError
        taken, self.takes = data[: self.takes], max(self.takes - len(data), 0)
        self.out += taken
        return len(taken)

    def write(self, data):
        self.written += data
        self._tempDataLen += len(data)

    def abortConnection(self):
        self.aborted = True


class Protocol:
    """Daphne's protocol as the writer knows it."""

    STATE_OPEN, state, closed = 3, 3, None

    def __init__(self, takes=1_000):
        self.transport = Transport(takes)

    def sendClose(self, code):
        self.closed = code


def test_what_the_socket_does_not_take_goes_through_the_buffer_in_order():
    protocol = Protocol(takes=6)
    writer = DaphneWriter(protocol)
    writer.write(Frame(b"abcdefgh"))
    writer.write(Frame(b"ijkl"))
    transport = protocol.transport
    assert transport.out + transport.written == Frame(b"abcdefgh").wire + Frame(b"ijkl").wire
    assert len(transport.out) == 6, "nothing may overtake what waits"
    assert writer.unsent() == len(transport.written)


def test_a_full_socket_leaves_all_to_the_buffer():
    protocol = Protocol(takes=0)
    DaphneWriter(protocol).write(Frame(b"abc"))
    assert protocol.transport.written == Frame(b"abc").wire


def test_nothing_is_written_after_the_close():
    protocol = Protocol()
    writer = DaphneWriter(protocol)
    writer.close(4401)
    assert protocol.closed == 4401
    protocol.state = 2
    writer.write(Frame(b"late"))
    assert protocol.transport.out == b""
    writer.abort()
    assert protocol.transport.aborted


def test_a_send_that_is_not_daphnes_gets_the_plain_writer():
    async def send(message):
        pass

    assert isinstance(writer_of(functools.partial(send)), AsgiWriter)
