"""Messages between a worker and its parent arrive, however the system splits them."""

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading

import pytest

from asking import WINDOWS
from nicefutures._processes import pipes
from nicefutures._processes.pipes import End, PosixEnd, end_of, open_pipe

pytestmark = pytest.mark.every_python

KINDS = [End] if WINDOWS else [PosixEnd]
posix_only = pytest.mark.skipif(WINDOWS, reason="Windows' pipes know messages")


@pytest.fixture
def connections():
    pair = open_pipe(multiprocessing)
    yield pair
    for each in pair:
        each.close()


def write_all(fd, data):
    while data:
        data = data[os.write(fd, data) :]


@posix_only
def test_fork_while_an_end_is_opened():
    """A process that another thread forks meanwhile has no copy of the end, which would hide that it was closed."""
    ends = []
    is_open, is_forking = threading.Event(), threading.Event()

    def open_end():
        with pipes.opening:
            ends.extend(open_pipe(multiprocessing))
            is_open.set()
            is_forking.wait(0.2)  # the fork waits for this thread, so the event is not set
            pipes.keep_from_children(end_of(ends[0]))

    thread = threading.Thread(target=open_end)
    thread.start()
    is_open.wait()
    pid = os.fork()
    if not pid:
        os._exit(0 if ends[0].fileno() < 0 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    thread.join()
    pipes.close(ends[1])


@pytest.mark.parametrize("kind", KINDS)
def test_messages(kind, connections):
    """Messages of all sizes arrive unchanged and in order, also if several are in the pipe at once."""
    short = [0, 1, 7, 8, 9, 200]
    there, here = map(kind, connections)
    for size in short:
        there.send(size % 128, bytes([size]) * size)
    for size in short:
        assert here.poll()
        assert here.receive() == (size % 128, bytes([size]) * size)
    assert not here.poll()
    sizes = [*short, 2**15 - 9, 2**15 - 8, 2**15 - 7, 2**15, 2**16, 3_000_000, 5]
    sender = threading.Thread(target=lambda: [there.send(3, bytes(size)) for size in sizes])
    sender.start()
    assert [(kind, len(data)) for kind, data in (here.receive() for _ in sizes)] == [(3, size) for size in sizes]
    sender.join()


@posix_only
def test_message_that_is_cut_off(connections):
    """If a signal's handler interrupts a message, none follows, because it would be read as the rest of the first."""
    there, here = map(PosixEnd, connections)

    def leave(number, frame):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, leave)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        with pytest.raises(TimeoutError):
            there.send(1, bytes(10**7))  # more than the pipe has room for
    finally:
        signal.signal(signal.SIGALRM, before)
    with pytest.raises(OSError, match="descriptor"):
        there.send(2, b"")
    with pytest.raises(EOFError):
        here.receive()


def test_parts(monkeypatch):
    """A message is sent in parts, because Windows takes at most 4 GiB at once."""
    monkeypatch.setattr(pipes, "most_bytes", 10)
    there, here = map(End, multiprocessing.Pipe())
    monkeypatch.setattr(pipes, "_SHORT", 10)
    for size in (9, 10, 11, 25):
        there.send(1, bytes(size))
        assert here.receive() == (1, bytes(size))


@posix_only
@pytest.mark.parametrize("size", [0, 3, 70_000])
def test_crumbs(connections, size):
    """A message may arrive in pieces, and its last piece may begin the next message."""
    raw, here = connections[0].fileno(), PosixEnd(connections[1])
    data = b"".join((len(each) | 7 << 56).to_bytes(8, "little") + each for each in (b"a" * size, b"b" * 5))

    def send():
        for start in range(0, 20, 3):
            os.write(raw, data[start : min(start + 3, 20)])
        write_all(raw, data[20:])

    sender = threading.Thread(target=send)
    sender.start()
    assert here.receive() == (7, b"a" * size)
    assert here.receive() == (7, b"b" * 5)
    sender.join()


@posix_only
@pytest.mark.parametrize("count", [0, 3, 8, 10, 50_000])
def test_half_a_message(connections, count):
    """If a sender dies during a message, the reader gets an EOFError, and no message."""
    here = PosixEnd(connections[1])
    write_all(connections[0].fileno(), ((10**5).to_bytes(8, "little") + bytes(10**5))[:count])
    connections[0].close()
    with pytest.raises(EOFError):
        here.receive()


def test_end_of(connections):
    """Each system has its own kind of end."""
    assert type(end_of(connections[0])) is KINDS[-1]


@pytest.mark.parametrize("kind", KINDS)
def test_closed_end(kind, connections):
    """A closed end raises an OSError, and does not use its old number any more."""
    here = kind(connections[1])
    here.close()
    for use in (lambda: here.send(1, b""), lambda: here.send(1, bytes(10**5)), here.receive):
        with pytest.raises(OSError, match=r"closed|descriptor"):
            use()


@posix_only
def test_unread(connections):
    """If an end is closed with unread data, the other end gets a ConnectionResetError on Linux."""
    there, here = map(PosixEnd, connections)
    there.send(1, b"unread")
    here.close()
    if sys.platform == "linux":
        with pytest.raises(ConnectionResetError):
            there.receive()


@posix_only
@pytest.mark.parametrize("size", [10, 10**6])
def test_sigpipe(size):
    """A program that has SIGPIPE at its default action survives a worker's end."""
    program = f"""
        import signal
        from nicefutures._processes.pipes import end_of, open_pipe
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        there, here = open_pipe(None)
        end = end_of(there)
        here.close()
        try:
            end.send(1, bytes({size}))
        except OSError as error:
            print(type(error).__name__)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "BrokenPipeError"), done.stderr
