"""Messages between a worker and its parent, however the system cuts them."""

import multiprocessing
import os
import threading

import pytest

from asking import WINDOWS
from nicefutures._processes import pipes
from nicefutures._processes.pipes import End, PosixEnd, end_of

pytestmark = pytest.mark.every_python

KINDS = [End] if WINDOWS else [End, PosixEnd]
posix_only = pytest.mark.skipif(WINDOWS, reason="Windows' pipes know messages")


@pytest.fixture
def connections():
    pair = multiprocessing.Pipe()
    yield pair
    for each in pair:
        each.close()


def write_all(fd, data):
    while data:
        data = data[os.write(fd, data) :]


@pytest.mark.parametrize("kind", KINDS)
def test_messages(kind, connections):
    """Of all sizes, each as it was sent, in order; several may be there at once."""
    short = [0, 1, 7, 8, 9, 200]
    there, here = map(kind, connections)
    for size in short:
        there.send(bytes([size]) * size)
    for size in short:
        assert here.poll()
        assert here.receive() == bytes([size]) * size
    assert not here.poll()
    sizes = [*short, 2**15 - 9, 2**15 - 8, 2**15 - 7, 2**15, 2**16, 3_000_000, 5]
    sender = threading.Thread(target=lambda: [there.send(bytes(size)) for size in sizes])
    sender.start()
    assert [len(here.receive()) for _ in sizes] == sizes
    sender.join()


def test_parts(connections, monkeypatch):
    """Windows takes 4 GiB at once."""
    monkeypatch.setattr(pipes, "most_bytes", 10)
    there, here = map(End, connections)
    for size in (9, 10, 11, 25):
        there.send(bytes(size))
        assert here.receive() == bytes(size)


@posix_only
@pytest.mark.parametrize("size", [0, 3, 70_000])
def test_crumbs(connections, size):
    """A message that comes in pieces, the one after it in the same piece as its end."""
    raw, here = connections[0].fileno(), PosixEnd(connections[1])
    data = b"".join(len(each).to_bytes(8, "little") + each for each in (b"a" * size, b"b" * 5))

    def send():
        for start in range(0, 20, 3):
            os.write(raw, data[start : min(start + 3, 20)])
        write_all(raw, data[20:])

    sender = threading.Thread(target=send)
    sender.start()
    assert here.receive() == b"a" * size
    assert here.receive() == b"b" * 5
    sender.join()


@posix_only
@pytest.mark.parametrize("count", [0, 3, 8, 10, 50_000])
def test_half_a_message(connections, count):
    """Who dies while it sends leaves an end, and no message."""
    here = PosixEnd(connections[1])
    write_all(connections[0].fileno(), ((10**5).to_bytes(8, "little") + bytes(10**5))[:count])
    connections[0].close()
    with pytest.raises(EOFError):
        here.receive()


def test_end_of(connections):
    """Each system's own."""
    assert type(end_of(connections[0])) is KINDS[-1]
