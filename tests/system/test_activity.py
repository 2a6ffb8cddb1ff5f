"""User activity, battery, memory and CPU usage: of each system through its seam, and of real servers on Linux."""

import contextlib
import os
import queue
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time

import psutil
import pytest

from asking import LINUX
from marks import linux_only, windows_only
from nicefutures import _watch
from nicefutures._system.common import CannotTellError
from nicefutures._system.linux import activity as linux
from nicefutures._system.linux import seam as linux_seam
from nicefutures._system.macos import activity as macos
from nicefutures._system.macos import seam as macos_seam
from nicefutures._system.posix import desktop, link, x11
from nicefutures._system.windows import activity as windows
from nicefutures._system.windows import seam as windows_seam
from patience import PATIENCE, wait_until
from seams import FakeKernel, FakeQos, FakeWindows, describe_process

DESKTOP = ("DISPLAY", "WAYLAND_DISPLAY", "XDG_SESSION_TYPE", "XAUTHORITY", "DBUS_SESSION_BUS_ADDRESS")


# --- through the seams


@pytest.fixture
def kernel(monkeypatch):
    fake = FakeKernel()
    monkeypatch.setattr(linux_seam, "system", fake)
    return fake


def plug(kernel, **supplies):
    kernel.directories[linux._SUPPLIES] = list(supplies)
    for name, properties in supplies.items():
        for key, value in properties.items():
            kernel.files[f"{linux._SUPPLIES}/{name}/{key}"] = value + "\n"


BATTERY = {"type": "Battery", "scope": "System", "status": "Discharging"}
MAINS = {"type": "Mains", "online": "0"}


@pytest.mark.parametrize(
    ("supplies", "expected"),
    [
        ({}, False),
        ({"AC": MAINS, "BAT0": BATTERY}, True),
        ({"BAT0": BATTERY}, True),
        ({"AC": MAINS | {"online": "1"}, "BAT0": BATTERY | {"status": "Charging"}}, False),
        ({"AC": MAINS | {"online": "1"}, "BAT0": BATTERY | {"status": "Not charging"}}, False),
        ({"AC": MAINS, "BAT0": BATTERY | {"status": "Unknown"}, "BAT1": BATTERY}, True),
        ({"ucsi": {"type": "USB", "online": "1"}, "BAT0": BATTERY}, False),
        ({"AC": MAINS | {"online": "1"}, "mouse": BATTERY | {"scope": "Device"}}, False),
        ({"mouse": BATTERY | {"scope": "Device"}}, False),
        ({"ups": {"type": "UPS", "status": "Discharging"}}, True),
        ({"BAT0": {"type": "Battery"}}, False),
    ],
)
def test_battery_of_linux(kernel, supplies, expected):
    """A machine with a discharging battery of its own runs on it, unless an external supply is online."""
    plug(kernel, **supplies)
    assert linux.open_battery()() is expected


def test_unplugged_while_asked(kernel):
    """A supply that disappears while it is read does not count."""
    plug(kernel, BAT0=BATTERY)
    del kernel.files[f"{linux._SUPPLIES}/BAT0/status"]
    assert linux.open_battery()() is False


def test_no_sys(kernel):
    """Without /sys the battery is unknown."""
    with pytest.raises(CannotTellError) as caught:
        linux.open_battery()
    assert caught.value.remedy == "Mount /sys."


@pytest.mark.parametrize(("avg10", "expected"), [("0.00", False), ("9.99", False), ("10.00", True), ("85.31", True)])
def test_memory_of_linux(kernel, avg10, expected):
    """Memory is low at a pressure of 10 % or more."""
    full = "full avg10=99.00 avg60=0.00 avg300=0.00 total=1"
    kernel.files[linux._PRESSURE] = f"some avg10={avg10} avg60=0.00 avg300=0.00 total=1\n{full}\n"
    assert linux.open_memory()() is expected


@pytest.mark.parametrize("text", [None, "", "some avg10=x"])
def test_no_pressure(kernel, text):
    """If the kernel's pressure file is missing or invalid, the condition memory_low cannot be detected."""
    if text is not None:
        kernel.files[linux._PRESSURE] = text
    with pytest.raises(CannotTellError) as caught:
        linux.open_memory()
    assert "psi=1" in caught.value.remedy


@pytest.mark.parametrize(
    ("nice", "policy", "flags", "counts"),
    [(0, 0, 0, True), (-5, 0, 0, True), (0, 3, 0, True), (1, 0, 0, False), (0, 5, 0, False), (0, 0, 0x200000, False)],
)
def test_usage_of_linux(kernel, nice, policy, flags, counts):
    """SCHED_IDLE, nice > 0 and the kernel's threads do not count; a name may contain any characters."""
    fields = ["S", "7", *["0"] * 4, str(flags), *["0"] * 4, "150", "50", "20", "30", "20", str(nice), "3", "0", "99"]
    kernel.files["/proc/42/stat"] = f"42 (a) b ({'x'}) {' '.join(fields + ['0'] * 18 + [str(policy)])} 0 0"
    kernel.directories["/proc"] = ["42", "43", "self", "stat"]
    assert linux.list_usage() == {42: (99, 7, 2.0, 0.5, 3, counts)}


@pytest.fixture
def win32(monkeypatch):
    fake = FakeWindows()
    monkeypatch.setattr(windows_seam, "system", fake)
    return fake


@pytest.mark.parametrize(
    ("input_at", "ticks", "seconds"),
    [(1000, 3500, 2.5), (2**32 - 1000, 500, 1.5), (3500, 3400, 0.0), (0, 2**31, 2**31 / 1000), (5, 5, 0.0)],
)
def test_idle_clock_of_windows(win32, input_at, ticks, seconds):
    """The ticks wrap around, and the last input may have a slightly later tick than now."""
    win32.input_at, win32.ticks_now = input_at, ticks
    assert windows.open_idle_clock()() == seconds


@pytest.mark.parametrize(
    ("power", "expected"), [((0, 1), True), ((1, 8), False), ((0, 128), False), ((255, 255), False), ((255, 1), False)]
)
def test_battery_of_windows(win32, power, expected):
    """A machine runs on its battery if it has one and is off the power line."""
    win32.power = power
    assert windows.open_battery()() is expected


def test_memory_of_windows(win32):
    """Memory is low if the notification of Windows says so."""
    ask = windows.open_memory()
    win32.memory_low[0] = True
    assert ask() is True


def test_usage_of_windows(win32):
    """Processes and threads below NORMAL do not count, nor do the system's own processes."""
    win32.listed.insert(1, describe_process(77, 4, [1], following=True))
    usage = windows.list_usage()
    assert {pid: (each.counts, each.threads, each.seconds) for pid, each in usage.items()} == {
        0: (False, 1, 0.1),
        77: (False, 1, 1e-7),
        1234: (True, 2, 2.5),
    }
    assert {tid: (each.counts, each.seconds) for tid, each in windows.list_threads(1234).items()} == {
        0: (True, 2.0),
        1: (False, 0.5),
    }


@windows_only
def test_windows():
    """The real calls work: times are plausible, and this process is in the list."""
    assert windows.open_idle_clock()() >= 0
    assert windows.open_battery()() in (True, False)
    assert windows.open_memory()() in (True, False)
    used = time.process_time()
    while time.process_time() - used < 0.1:
        pass
    mine = windows.list_usage([os.getpid()])[os.getpid()]
    assert 0.1 <= mine.seconds <= time.process_time() + 0.1
    threads = windows.list_threads(os.getpid())
    assert threading.get_native_id() in threads
    assert sum(each.seconds for each in threads.values()) <= mine.seconds + 0.1


@pytest.mark.parametrize(("level", "expected"), [(1, False), (2, True), (4, True)])
def test_memory_of_macos(monkeypatch, level, expected):
    """Memory is low at the level "warning" or above; a system without levels raises CannotTellError."""
    fake = FakeQos()
    fake.pressure = level
    monkeypatch.setattr(macos_seam, "system", fake)
    assert macos.open_memory()() is expected
    fake.error = 2
    with pytest.raises(CannotTellError):
        macos.open_memory()


# --- real servers


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """Make this a process without a desktop; return its runtime directory."""
    for name in DESKTOP:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/system")
    return tmp_path


@pytest.fixture
def patient(nowhere, monkeypatch):
    """Give servers as much time as they need on a busy machine."""
    monkeypatch.setattr(link, "PATIENCE_S", PATIENCE)
    return nowhere


@contextlib.contextmanager
def started(command, **options):
    """Start a program, and kill it at the end."""
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, **options)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@linux_only
def test_no_desktop(nowhere):
    """Without a desktop, the error has the reasons of all sources."""
    with pytest.raises(CannotTellError) as caught:
        linux.open_idle_clock()
    for name in (*desktop.SOURCES, "logind"):
        assert f"{name}: " in caught.value.reason
    assert caught.value.remedy


@linux_only
def test_no_bus(nowhere, monkeypatch):
    """Without a bus, the remedy does not name jeepney, which would not help."""
    monkeypatch.setitem(sys.modules, "jeepney", None)
    with pytest.raises(CannotTellError) as caught:
        desktop.open_clock(desktop.SOURCES, linux_seam.system.connect)
    assert "GNOME: [Errno 2] No such file" in caught.value.reason
    assert "jeepney" not in caught.value.remedy


@pytest.fixture(params=["open", "cookie"])
def x_server(request, patient, monkeypatch):
    """Start an X server, which accepts all clients, or only those with a cookie."""
    if not LINUX or not shutil.which("Xvfb"):
        pytest.skip("needs Xvfb")
    options = []
    cookie = os.urandom(16)
    if request.param == "cookie":
        words = [b"host", b"", x11._COOKIE, cookie]
        path = patient / "cookies"
        path.write_bytes(struct.pack(">H", 256) + b"".join(struct.pack(">H", len(word)) + word for word in words))
        options = ["-auth", str(path)]
        monkeypatch.setenv("XAUTHORITY", str(path))
    reading, writing = os.pipe()
    command = ["Xvfb", "-displayfd", str(writing), "-nolisten", "tcp", *options]
    with started(command, pass_fds=[writing]) as process:
        os.close(writing)
        with open(reading, "rb") as number:
            monkeypatch.setenv("DISPLAY", f":{number.readline().decode().strip()}")
        yield process


def move_mouse():
    """Move the mouse with the X extension XTEST ("XTEST Extension Protocol")."""
    display = x11.Display(linux_seam.system.connect)
    for x in (10, 20):
        data = struct.pack("=BBxxIIxxxxxxxxhhxxxxxxxx", 6, 0, 0, display.root, x, x)
        display.request(display.find_extension(b"XTEST"), 2, data, answers=False)
    display.idle_seconds()  # waits until the server has moved the mouse


def test_x_server(x_server):
    """An X server reports how long the mouse has been idle; if the server ends, the clock raises only an OSError."""
    clock = linux.open_idle_clock()
    before = wait_until(lambda: clock() > 0.1 and clock())
    move_mouse()
    assert clock() < before
    x_server.kill()
    x_server.wait()
    with pytest.raises(OSError):  # noqa: PT011, whichever it is
        clock()
    with pytest.raises(CannotTellError):
        linux.open_idle_clock()


@pytest.mark.parametrize("x_server", ["open"], indirect=True)
def test_user_comes_back(x_server):
    """A pool runs while the mouse is idle, pauses when it moves, and resumes some time later."""
    told = queue.SimpleQueue()

    class Pool:
        reasons = frozenset()

        def pause(self, reason, leave=0):
            told.put(f"pause: {reason}")

        def resume(self, reason):
            told.put(f"resume: {reason}")

        def has_work(self):
            return True

        def pids(self):
            return []

    pool = Pool()
    watch = _watch.watch(pool, ["user_active"], 1.5, pytest.fail)
    clock = linux.open_idle_clock()
    wait_until(lambda: clock() > 1.5)
    watch.wake()
    for _ in range(2):
        wait_until(lambda: move_mouse() or not told.empty())
        assert told.get() == "pause: user_active"
        assert told.get(timeout=PATIENCE) == "resume: user_active"
    watch.close()


@pytest.mark.parametrize("x_server", ["cookie"], indirect=True)
def test_wrong_cookie(x_server, monkeypatch):
    """The error lists a server that refuses this client among its reasons."""
    monkeypatch.delenv("XAUTHORITY")
    with pytest.raises(CannotTellError) as caught:
        linux.open_idle_clock()
    assert "is XAUTHORITY set?" in caught.value.reason


def test_x_server_of_wayland(x_server, monkeypatch):
    """Xwayland sees only its own windows, so its idle time is not used."""
    monkeypatch.setenv("XDG_SESSION_TYPE", "wayland")
    with pytest.raises(CannotTellError) as caught:
        linux.open_idle_clock()
    assert "X11: the server is Xwayland" in caught.value.reason


@pytest.mark.parametrize("name", ["localhost:10.0", "host:0", ":", ":x"])
def test_display_elsewhere(nowhere, monkeypatch, name):
    """A display that is not on this machine is an error, because it has another keyboard."""
    monkeypatch.setenv("DISPLAY", name)
    with pytest.raises(OSError, match="no display of this machine"):
        x11.Display(linux_seam.system.connect)


# A service that runs as a separate program and answers all calls.
SERVICE = """
import sys
from jeepney import MessageType, new_error, new_method_return
from jeepney.bus_messages import message_bus
from jeepney.io.blocking import open_dbus_connection
from jeepney.wrappers import unwrap_msg

kind, name, *answers = sys.argv[1:]
answers = dict(answer.split("=", 1) for answer in answers)
connection = open_dbus_connection(kind)
connection.send_and_get_reply(message_bus.RequestName(name))
print("ready", flush=True)
while True:
    message = connection.receive()
    if message.header.message_type is not MessageType.method_call:
        continue
    called = message.header.fields[3]
    if called == "Get":
        called = message.body[1]
    if called not in answers:
        connection.send(new_error(message, "org.freedesktop.DBus.Error.UnknownMethod"))
        continue
    signature, _, value = answers[called].partition(":")
    value = value if "s" in signature else int(value)
    body = ((signature[1:], value),) if signature[0] == "v" else (value,)
    connection.send(new_method_return(message, signature[:1], body))
"""


@pytest.fixture
def serve(patient, monkeypatch):
    """Start a private bus; return a function that starts a service on it."""
    if not LINUX or not shutil.which("dbus-daemon"):
        pytest.skip("needs dbus-daemon")
    pytest.importorskip("jeepney")
    path = patient / "bus"
    command = ["dbus-daemon", "--session", "--nofork", f"--address=unix:path={path}", "--print-address=1"]
    with contextlib.ExitStack() as stack:
        daemon = stack.enter_context(started(command, stdout=subprocess.PIPE))
        daemon.stdout.readline()
        stack.callback(daemon.stdout.close)
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={path}")

        def start(name, *answers):
            variables = {**os.environ, "DBUS_SESSION_BUS_ADDRESS": f"unix:path={path}"}
            command = [sys.executable, "-c", SERVICE, "SESSION", name, *answers]
            service = stack.enter_context(started(command, stdout=subprocess.PIPE, env=variables))
            assert service.stdout.readline() == b"ready\n"
            stack.callback(service.stdout.close)
            return service

        yield start


def test_gnome(serve):
    """Mutter answers in milliseconds; the bus is found without its variable, as over SSH."""
    serve("org.gnome.Mutter.IdleMonitor", "GetIdletime=t:12345")
    clock = linux.open_idle_clock()
    assert [clock(), clock()] == [12.345, 12.345]


def test_kde(serve):
    """KDE answers in milliseconds."""
    serve("org.freedesktop.ScreenSaver", "GetSessionIdleTime=u:61000")
    assert linux.open_idle_clock()() == 61.0


def test_kde_on_wayland(serve):
    """On Wayland, KDE always answers 0, which would pause a pool forever, so it is not used."""
    serve("org.freedesktop.ScreenSaver", "GetSessionIdleTime=u:0")
    with pytest.raises(CannotTellError) as caught:
        linux.open_idle_clock()
    assert "KDE: org.freedesktop.ScreenSaver says 0, as always on Wayland" in caught.value.reason


def test_console(serve):
    """Logind knows when a terminal was last read; its answer for a graphical session is not used."""
    since = round((time.clock_gettime(time.CLOCK_MONOTONIC) - 100) * 1e6)
    service = serve("org.freedesktop.login1", "Type=vs:tty", f"IdleSinceHintMonotonic=vt:{since}")
    assert 100 <= linux.open_idle_clock()() < 400
    service.kill()
    service.wait()
    serve("org.freedesktop.login1", "Type=vs:wayland", f"IdleSinceHintMonotonic=vt:{since}")
    with pytest.raises(CannotTellError, match="a session of type 'wayland' has no terminal"):
        linux.open_idle_clock()


def test_service_goes_away(serve):
    """If a service ends, the clock raises an OSError."""
    service = serve("org.gnome.Mutter.IdleMonitor", "GetIdletime=t:1")
    clock = linux.open_idle_clock()
    service.kill()
    service.wait()
    with pytest.raises(OSError):  # noqa: PT011, whichever it is
        clock()


def test_jeepney_is_not_there(serve, monkeypatch):
    """Without jeepney, the error says so, and its remedy names jeepney."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "jeepney"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "jeepney", None)
    with pytest.raises(CannotTellError) as caught:
        linux.open_idle_clock()
    assert "GNOME: import of jeepney halted" in caught.value.reason
    assert 'pip install "nicefutures[pause]"' in caught.value.remedy


@linux_only
def test_silent_bus(nowhere):
    """A bus and a compositor that accept the connection and never answer are given up after a time limit."""
    assert link.PATIENCE_S == 0.2
    pytest.importorskip("jeepney")
    with contextlib.ExitStack() as stack:
        for name in ("bus", "wayland-0"):
            server = stack.enter_context(socket.socket(socket.AF_UNIX))
            server.bind(str(nowhere / name))
            server.listen()
        with pytest.raises(CannotTellError) as caught:
            linux.open_idle_clock()
    assert caught.value.reason.count("timed out") == 3


# --- a Wayland compositor, as far as the library uses one


class Compositor(threading.Thread):
    """Lists its interfaces for one client; `send` sends an event to an object of the client."""

    def __init__(self, path, interfaces):
        super().__init__()
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(str(path))
        self.server.listen()
        self.interfaces = interfaces
        self.client = None
        self.notification = None

    def run(self):
        self.client, _ = self.server.accept()
        data, bound = b"", {}
        while received := self.client.recv(4096):
            data += received
            while len(data) >= 8:
                target, code, size = struct.unpack_from("=IHH", data)
                body, data = data[8:size], data[size:]
                if (target, code) == (1, 1):  # get_registry
                    registry = struct.unpack("=I", body)[0]
                    for number, (name, version) in enumerate(self.interfaces):
                        padded = name + bytes(4 - len(name) % 4)
                        head = struct.pack("=II", number, len(name) + 1)
                        self.send(registry, 0, head + padded + struct.pack("=I", version))
                elif (target, code) == (1, 0):  # sync
                    self.send(struct.unpack("=I", body)[0], 0, bytes(4))
                elif target == registry:
                    number, length = struct.unpack_from("=II", body)
                    bound[struct.unpack_from("=I", body, len(body) - 4)[0]] = (body[8 : 8 + length - 1], body[-8:-4])
                else:
                    self.notification, _, seat = struct.unpack("=III", body)
                    self.asked = bound[target][0], code, bound[seat][0]

    def send(self, target, code, body=b""):
        self.client.sendall(struct.pack("=IHH", target, code, 8 + len(body)) + body)

    def close(self):
        with contextlib.suppress(OSError):
            self.client.shutdown(socket.SHUT_RDWR)
        self.join()
        self.client.close()
        self.server.close()


@linux_only
@pytest.mark.parametrize(("version", "code"), [(1, 1), (2, 2)])
def test_wayland(patient, version, code):
    """A compositor reports when input ends and begins; from version 2 on, a playing film is not input."""
    compositor = Compositor(patient / "wayland-0", [(b"wl_seat", 9), (b"ext_idle_notifier_v1", version)])
    compositor.start()
    clock = linux.open_idle_clock()
    assert compositor.asked == (b"ext_idle_notifier_v1", code, b"wl_seat")
    assert clock() == 0
    compositor.send(compositor.notification, 0)
    assert wait_until(clock) >= 1
    compositor.send(compositor.notification, 1)
    wait_until(lambda: clock() == 0)
    compositor.close()
    with pytest.raises(OSError):  # noqa: PT011, whichever it is
        clock()


@linux_only
def test_wayland_without_the_protocol(patient):
    """The error lists a compositor without the protocol among its reasons."""
    compositor = Compositor(patient / "wayland-0", [(b"wl_seat", 9)])
    compositor.start()
    with pytest.raises(CannotTellError, match="Wayland: the compositor has no ext_idle_notifier_v1"):
        linux.open_idle_clock()
    compositor.close()


@linux_only
def test_real_usage():
    """A real process at SCHED_IDLE does not count; CPU times agree with those of psutil."""
    with started([sys.executable, "-c", "while True: pass"]) as process:
        pid = process.pid
        wait_until(lambda: linux.list_usage([pid])[pid].seconds > 0.1)
        assert linux.list_usage([pid])[pid].counts
        os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0))
        usage = linux.list_usage()
        assert not usage[pid].counts
        assert usage[pid].parent == os.getpid()
        assert linux.list_threads(pid).keys() == {pid}
    times = psutil.Process().cpu_times()
    mine = linux.list_usage([os.getpid()])[os.getpid()]
    assert mine.seconds <= times.user + times.system + 1
