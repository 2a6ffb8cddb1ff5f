"""Pools pause by themselves: the watching thread asks about their conditions, and tells the pools."""

import gc
import logging
import multiprocessing
import os
import queue
import subprocess
import sys
import threading

import pytest

from marks import INTERPRETER_POOLS
from nicefutures import LowPriorityProcessPoolExecutor, PriorityThreadPoolExecutor, PriorityWarning, _watch
from nicefutures._arguments import CONDITIONS
from nicefutures._system.common import CannotTellError
from patience import PATIENCE, wait_until
from programs import run_python

THREAD = "nicefutures-watch"


class Activity:
    """A simulated machine, whose state the test sets."""

    def __init__(self):
        self.idle_s = 1000.0
        self.battery = False
        self.memory = False
        self.busy = 0.0
        self.opened = []
        self.unknown = set()

    def _open(self, name, ask):
        self.opened.append(name)
        if name in self.unknown:
            raise CannotTellError(f"no {name} here", f"Buy a {name}.")

        def answer():
            if name in self.unknown:
                raise OSError(f"the {name} is gone")
            return ask()

        return answer

    def open_idle_clock(self):
        return self._open("clock", lambda: self.idle_s)

    def open_battery(self):
        return self._open("battery", lambda: self.battery)

    def open_memory(self):
        return self._open("memory", lambda: self.memory)

    def busy_seconds(self):
        self._open("cpu", lambda: 0)
        return self.busy

    def list_usage(self, pids=None):
        self.asked_pids = pids
        return {}

    def list_threads(self, pid):
        return {}


class Pool:
    """A pool that records how it is paused and resumed."""

    def __init__(self, *pids):
        self.told = queue.SimpleQueue()
        self.reasons = set()
        self.work = True
        self.workers = list(pids)
        self.fault = None

    def pause(self, reason, leave=0):
        if self.fault:
            raise self.fault
        if not (leave and reason in self.reasons):  # repeated at each look, because another task may begin
            self.told.put(("pause", reason, leave))
        self.reasons.add(reason)

    def resume(self, reason):
        self.reasons.discard(reason)
        self.told.put(("resume", reason))

    def has_work(self):
        return self.work

    def pids(self):
        return self.workers

    def next(self):
        return self.told.get(timeout=PATIENCE)


@pytest.fixture
def machine(monkeypatch):
    fake = Activity()
    monkeypatch.setattr(_watch.backend, "activity", fake)
    monkeypatch.setattr(_watch, "_PERIOD_S", 0.01)
    monkeypatch.setattr(_watch, "_PATIENCE_S", 0.05)
    return fake


@pytest.fixture
def watch(machine):
    """Return a function that watches a pool until the end of the test; by default, no condition may be unknown."""
    watches = []

    def begin(pool, *conditions, idle_after=0.05, tell=pytest.fail):
        watches.append(_watch.watch(pool, conditions, idle_after, tell))
        watches[-1].wake()
        return watches[-1]

    yield begin
    for each in watches:
        each.close()


def threads():
    return [thread for thread in threading.enumerate() if thread.name == THREAD]


@pytest.mark.parametrize(("condition", "name", "leave"), [("on_battery", "battery", 0), ("memory_low", "memory", 1)])
def test_condition(machine, watch, caplog, condition, name, leave):
    """A pool pauses while a condition is met, and continues after it; both are logged."""
    pool = Pool()
    setattr(machine, name, True)
    watch(pool, condition)
    assert pool.next() == ("pause", condition, leave)
    setattr(machine, name, False)
    assert pool.next() == ("resume", condition)
    wait_until(lambda: len(caplog.records) == 2)
    assert [record.levelno for record in caplog.records] == [logging.INFO] * 2
    assert f"pauses: {condition}" in caplog.text
    assert f"continues: no {condition} for 0.05 s" in caplog.text


def test_user(machine, watch):
    """A user is active until there has been no input for the pool's own `idle_after`."""
    machine.idle_s = 50.0
    patient, quick = Pool(), Pool()
    watch(patient, "user_active", idle_after=60.0)
    watch(quick, "user_active", idle_after=40.0)
    assert patient.next() == ("pause", "user_active", 0)
    machine.idle_s = 60.0
    assert patient.next() == ("resume", "user_active")
    machine.idle_s = 0.0
    assert quick.next() == patient.next() == ("pause", "user_active", 0)
    assert machine.opened == ["clock"]


def test_cpu(machine, watch, monkeypatch):
    """The workers of all pools do not count as other programs, whichever pool asks."""
    asked = queue.SimpleQueue()

    class Others:
        def are_busy(self, pids):
            asked.put(sorted(pids))
            return True

    monkeypatch.setattr(_watch, "Others", Others)
    pool, other = Pool(11, 12), Pool(21)
    other.work = False
    watch(other, "on_battery")
    watch(pool, "cpu_busy")
    assert pool.next() == ("pause", "cpu_busy", 0)
    assert asked.get() == [11, 12, 21]


def test_two_reasons(machine, watch, caplog):
    """Each condition pauses and resumes on its own. The log says that the pool continues when none is left."""
    caplog.set_level(logging.INFO)
    machine.battery = machine.memory = True
    pool = Pool()
    found = watch(pool, "on_battery", "memory_low")
    assert {pool.next(), pool.next()} == {("pause", "on_battery", 0), ("pause", "memory_low", 1)}
    machine.battery = False
    assert pool.next() == ("resume", "on_battery")
    assert found.paused_by == {"memory_low"}
    machine.memory = False
    assert pool.next() == ("resume", "memory_low")
    wait_until(lambda: "no memory_low" in caplog.text)
    assert "no on_battery" not in caplog.text


def test_only_while_there_is_work(machine, watch):
    """One thread for all pools sleeps while none has work, is woken by new work, and ends with the last pool."""
    asked = threading.Event()
    pool, other = Pool(), Pool()
    pool.work = other.work = False

    def ask():
        asked.set()
        return True

    first = _watch.watch(pool, [ask], 1.0, pytest.fail)
    assert not threads()
    second = watch(other, ask)
    wait_until(lambda: _watch._watcher.sleeps)
    assert len(threads()) == 1
    assert not asked.is_set()
    pool.work = True
    first.wake()
    assert pool.next()[0] == "pause"
    assert other.told.empty()
    assert len(threads()) == 1
    pool.work = False
    wait_until(lambda: _watch._watcher.sleeps)
    first.close()
    assert threads()
    second.close()
    wait_until(lambda: not threads())
    second.close()
    pool.work = True
    third = watch(pool, ask)
    assert pool.next()[0] == "pause"
    third.close()
    wait_until(lambda: not threads())


def test_nothing_to_watch(machine, watch):
    """Without conditions there is no thread."""
    watch(Pool())
    assert not threads()


def test_forgotten_pool(machine, watch):
    """The thread does not keep a pool alive, and ends with the last pool, also while the thread sleeps."""
    pool = Pool()
    pool.work = False
    watch(pool, "on_battery")
    wait_until(lambda: _watch._watcher.sleeps)
    del pool
    gc.collect()
    wait_until(lambda: not threads())


def test_function(machine, watch, caplog):
    """A function that returns True pauses under its name; one that fails counts as False, and is logged once."""
    failures = threading.Semaphore(0)

    def office_hours():
        return True

    def broken():
        failures.release()
        raise ZeroDivisionError("in the user's function")

    pool = Pool()
    found = watch(pool, broken, office_hours, lambda: 1, lambda: "yes")
    names = {pool.next()[1] for _ in range(3)}
    prefix = "test_function.<locals>."
    assert names == {f"{prefix}office_hours", f"{prefix}<lambda>", f"{prefix}<lambda> (2)"} == found.paused_by
    for _ in range(2):
        assert failures.acquire(timeout=PATIENCE)
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.exc_info[0] for record in errors] == [ZeroDivisionError]
    assert "broken of pause_when failed" in errors[0].getMessage()


def test_pace_of_functions(monkeypatch):
    """A function is called at most once a second, however often its condition is checked."""
    clock = iter(x / 10 for x in range(10_000))
    calls = []
    monkeypatch.setattr(_watch, "now", lambda: next(clock))
    sensor = _watch._Function(lambda: calls.append(1))
    before = next(clock)
    for _ in range(100):
        sensor.age(list)
    assert 1 < len(calls) <= (next(clock) - before) + 1


def test_between_two_answers(monkeypatch):
    """A function that was true counts as true until it is asked again, however short `idle_after` is."""
    clock = iter(x / 10 for x in range(10_000))
    monkeypatch.setattr(_watch, "now", lambda: next(clock))
    answers = iter([True, True, False])
    sensor = _watch._Function(lambda: next(answers, False))
    ages = [sensor.age(list) for _ in range(40)]
    first = next(index for index, age in enumerate(ages) if age)
    assert 10 < first < 30
    assert sorted(ages) == ages


def test_pace_of_questions(monkeypatch):
    """The system is asked once per look, however many pools have the same condition."""
    machine = Activity()
    clock = iter(x / 2 for x in range(1000) for _ in range(9))  # each look takes no time
    monkeypatch.setattr(_watch.backend, "activity", machine)
    monkeypatch.setattr(_watch, "now", lambda: next(clock))
    sensor = _watch._Named("on_battery")
    answers = []
    monkeypatch.setattr(sensor, "_question", answers.append)
    for _ in range(300):
        sensor.age(list)
    assert 33 <= len(answers) <= 35


def test_function_without_a_lock(machine, watch):
    """A function may wait for another thread that makes and ends pools."""
    done = threading.Event()

    def ask():
        def work():
            _watch.watch(Pool(), [lambda: True], 1.0, pytest.fail).close()

        thread = threading.Thread(target=work)
        thread.start()
        thread.join(PATIENCE)
        done.set()

    pool = Pool()
    watch(pool, ask)
    assert done.wait(PATIENCE)


def test_unknown(machine, watch):
    """A condition that cannot be detected is reported at once, with reason and remedy, and never pauses."""
    machine.unknown = {"clock", "cpu"}
    told = []
    machine.battery = True
    pool = Pool()
    watch(pool, "user_active", "cpu_busy", "on_battery", tell=told.append)
    assert [each.text for each in told] == [
        "Could not detect the condition 'user_active': no clock here. Buy a clock.",
        "Could not detect the condition 'cpu_busy': no cpu here. Buy a cpu.",
    ]
    assert pool.next() == ("pause", "on_battery", 0)
    machine.battery = False
    assert pool.next() == ("resume", "on_battery")


@pytest.mark.parametrize("on_denied", ["warn", "raise", "ignore"])
@pytest.mark.parametrize("kind", [LowPriorityProcessPoolExecutor, PriorityThreadPoolExecutor])
def test_unknown_is_always_told(machine, kind, on_denied):
    """The warning does not depend on `on_denied`, which is for the workers' priority."""
    machine.unknown = {"battery"}
    text = "'on_battery': no battery here. Buy a battery."
    options = {"on_denied": on_denied, "pause_when": ["on_battery"]}
    with pytest.warns(PriorityWarning, match=text) as told, kind(1, **options) as executor:
        assert executor.submit(abs, -1).result(PATIENCE) == 1
    assert told[0].filename == __file__


def test_lost(machine, watch, monkeypatch, caplog):
    """If the system stops answering, the pool continues after its time. This is logged once, and asked again."""
    monkeypatch.setattr(_watch, "_RETRY_S", 0.01)
    machine.battery = True
    pool = Pool()
    watch(pool, "on_battery")
    pool.next()
    machine.unknown = {"battery"}
    assert pool.next() == ("resume", "on_battery")
    wait_until(lambda: len(machine.opened) > 3)
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == ["The condition 'on_battery' cannot be detected any more: the battery is gone"]
    machine.unknown = set()
    assert pool.next() == ("pause", "on_battery", 0)


def test_faulty_pool(machine, watch, caplog):
    """A pool that cannot be paused is no longer watched; the others are."""
    machine.battery = True
    faulty, pool = Pool(), Pool()
    faulty.fault = RuntimeError("no")
    watch(faulty, "on_battery")
    watch(pool, "on_battery")
    assert pool.next()[0] == "pause"
    assert faulty.next() == ("resume", "on_battery")  # it is not left half paused
    assert "A pool does not pause by itself any more." in caplog.text


class Window(logging.Handler):
    """A log handler whose window has been closed."""

    def emit(self, record):
        raise RuntimeError("the window has been deleted")


def test_faulty_log(machine, watch):
    """A log handler that raises does not stop the watching, whatever is logged."""
    handler = Window()
    logging.getLogger("nicefutures").addHandler(handler)
    try:
        machine.battery = True
        faulty, pool = Pool(), Pool()
        faulty.fault = RuntimeError("no")
        watch(faulty, "on_battery")
        watch(pool, "on_battery", lambda: 1 / 0)
        assert pool.next()[0] == "pause"
        assert faulty.next() == ("resume", "on_battery")
        machine.unknown = {"battery"}
        assert pool.next()[0] == "resume"
        assert threads()
    finally:
        logging.getLogger("nicefutures").removeHandler(handler)


def test_every_condition():
    """Each condition has a detector."""
    assert tuple(_watch._OPENERS) == CONDITIONS


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.asks_for_fork
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_fork(machine, watch):
    """In a forked child, a new thread with its own sensors watches the pool."""
    machine.battery = True
    pool = Pool()
    found = watch(pool, "on_battery")
    pool.next()
    reading, writing = multiprocessing.Pipe(duplex=False)
    pid = os.fork()
    if not pid:
        try:
            before = len(machine.opened), set(found.paused_by)
            found.wake()
            writing.send((*before, pool.next(), len(threads()), len(machine.opened)))
        finally:
            os._exit(0)
    assert reading.recv() == (1, set(), ("pause", "on_battery", 0), 1, 2)
    os.waitpid(pid, 0)
    assert found.paused_by == {"on_battery"}


@pytest.mark.every_python
@pytest.mark.skipif(not INTERPRETER_POOLS, reason="needs interpreters")
def test_subinterpreter():
    """In a subinterpreter no pool is watched, and a message says so."""
    from concurrent import interpreters

    interpreter = interpreters.create()
    code = f"import sys; sys.path[:] = {sys.path!r}\nfrom nicefutures import _watch\n"
    code += "told = []\nclass Pool: pass\n"
    code += "_watch.watch(Pool(), ['on_battery'], 1.0, told.append)\nassert 'subinterpreter' in told[0].text, told"
    interpreter.exec(code)
    interpreter.close()


def test_end_of_the_program():
    """The watching thread has ended before the interpreter deletes pools: it could be stopped while it has a lock."""
    code = "import atexit, threading\n"
    code += "atexit.register(lambda: print([thread.name for thread in threading.enumerate()]))\n"  # called last
    code += "import nicefutures\n"
    code += "executor = nicefutures.PriorityThreadPoolExecutor(1, pause_when=[lambda: False])\n"
    code += "executor.submit(int).result()\n"
    assert run_python(code) == "['MainThread']\n"


def test_not_used():
    """A program without conditions does not import the code for them."""
    code = "import sys, nicefutures; nicefutures.PriorityThreadPoolExecutor(1).submit(int).result()\n"
    code += "print([name for name in sys.modules if 'activity' in name or 'jeepney' in name])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
