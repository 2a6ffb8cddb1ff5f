"""In a paused pool of threads or interpreters, running tasks continue, and no other task begins."""

import threading
import time
from concurrent.futures.thread import BrokenThreadPool

import pytest

from marks import INTERPRETER_POOLS, forks, needs_privilege
from nicefutures import PriorityThreadPoolExecutor, ThreadPriority, get_thread_priority
from patience import PATIENCE, wait_until
from programs import run_python
from tasks import fail, hold_until, identify, same

POOLS = [PriorityThreadPoolExecutor, lambda *args: PriorityThreadPoolExecutor(*args, latency_target=0.005)]
POOLS += INTERPRETER_POOLS
every_pool = pytest.mark.parametrize("pool", POOLS, ids=["plain", "gated", "interpreters"][: len(POOLS)])
pytestmark = pytest.mark.every_python


def hold_all(executor, tmp_path, count):
    """Return the futures of running tasks, and a function that lets them end."""
    futures = [executor.submit(hold_until, str(tmp_path / "go"), number) for number in range(count)]
    wait_until(lambda: executor.tasks().running == count)
    return futures, (tmp_path / "go").touch


@every_pool
def test_pause_and_resume(pool, tmp_path):
    """Running tasks finish. Waiting tasks can be cancelled, and begin in order after `resume`."""
    with pool(2) as executor:
        running, end = hold_all(executor, tmp_path, 2)
        waiting = [executor.submit(same, number) for number in range(3)]
        assert executor.paused_by == frozenset()
        executor.pause()
        executor.pause()
        assert executor.paused_by == {"pause"}
        waiting += [executor.submit(same, number) for number in range(3, 6)]
        assert executor.tasks() == (6, 2)
        end()
        assert [future.result(PATIENCE) for future in running] == [0, 1]
        wait_until(lambda: executor.tasks() == (6, 0))
        assert waiting[1].cancel()
        executor.resume()
        executor.resume()
        assert executor.paused_by == frozenset()
        assert [future.result(PATIENCE) for future in (waiting[0], *waiting[2:])] == [0, 2, 3, 4, 5]
        assert len(executor._threads) <= 2


@every_pool
@pytest.mark.parametrize("way", ["shutdown", "cancel", "collect"])
def test_every_way_out(pool, way):
    """A paused pool that ends finishes its tasks, unless they are cancelled."""
    executor = pool(1)
    executor.pause()
    futures = [executor.submit(same, number) for number in range(3)]
    if way == "collect":
        del executor
    else:
        executor.shutdown(cancel_futures=way == "cancel")
    if way == "cancel":
        assert all(future.cancelled() for future in futures)
        assert not hasattr(executor, "stats") or executor.stats().tasks_done == 0
    else:
        assert [future.result(PATIENCE) for future in futures] == [0, 1, 2]


@every_pool
@pytest.mark.parametrize("waits", [True, False])
def test_shutdown_while_a_condition_holds(pool, waits):
    """The pool accepts no more tasks, and runs the waiting ones when the condition no longer holds."""
    executor = pool(1)
    pausing = executor._pausable(opens=True)
    pausing.pause("on_battery")
    futures = [executor.submit(same, number) for number in range(3)]
    shutdown = threading.Thread(target=executor.shutdown, args=(waits,))
    shutdown.start()
    wait_until(lambda: executor._shutdown)
    with pytest.raises(RuntimeError, match="shutdown"):
        executor.submit(same, 1)
    assert executor.paused_by == {"on_battery"}
    assert not any(future.done() for future in futures)
    if not waits:
        shutdown.join(PATIENCE)
    pausing.resume("on_battery")
    shutdown.join(PATIENCE)
    assert [future.result(PATIENCE) for future in futures] == [0, 1, 2]
    wait_until(lambda: not any(thread.is_alive() for thread in executor._threads))


@every_pool
@pytest.mark.parametrize("count", [0, 5])
@pytest.mark.parametrize("when", ["before the end is told", "after"])
def test_condition_during_shutdown(pool, tmp_path, monkeypatch, count, when):
    """If a condition is met while `shutdown` waits, the waiting tasks run when it no longer holds; then it returns."""
    executor = pool(2)
    running, end = hold_all(executor, tmp_path, 2)
    futures = [executor.submit(same, number) for number in range(count)]
    pausing = executor._pausable(opens=True)
    finish = pausing.finish
    if when != "after":
        monkeypatch.setattr(pausing, "finish", lambda _: (finish(_), pausing.pause("on_battery")))
    shutdown = threading.Thread(target=executor.shutdown, daemon=True)
    shutdown.start()
    wait_until(lambda: executor._work_queue.qsize() == count + 1)
    if when == "after":
        pausing.pause("on_battery")
    end()
    assert [future.result(PATIENCE) for future in running] == [0, 1]
    wait_until(lambda: executor.tasks() == (count, 0))
    if count:
        assert shutdown.is_alive()
        assert not any(future.done() for future in futures)
        pausing.resume("on_battery")
    shutdown.join(PATIENCE)
    assert not shutdown.is_alive()
    assert [future.result(PATIENCE) for future in futures] == list(range(count))


@every_pool
@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_cancelled_while_a_condition_holds(pool, when):
    """The end of a pool does not wait for a condition if all waiting tasks are cancelled."""
    executor = pool(1)
    executor._pausable(opens=True).pause("user_active")
    futures = [executor.submit(same, number) for number in range(3)]

    def cancel():
        for future in futures:
            assert future.cancel()

    if when == "before":
        cancel()
    else:
        threading.Timer(0.3, cancel).start()
    executor.shutdown()
    assert all(future.cancelled() for future in futures)


@every_pool
def test_reasons_add_up(pool):
    """The pool continues when the last reason is gone."""
    with pool(1) as executor:
        executor.pause()
        pausing = executor._pausable(opens=True)
        pausing.pause("user_active")
        future = executor.submit(same, 1)
        executor.resume()
        assert executor.paused_by == {"user_active"}
        assert not future.done()
        pausing.resume("user_active")
        assert future.result(PATIENCE) == 1


@every_pool
def test_one_goes_on(pool, tmp_path):
    """With a reason that leaves one task, tasks begin one at a time."""
    with pool(2) as executor:
        pausing = executor._pausable(opens=True)
        futures = [executor.submit(same, number) for number in range(5)]
        pausing.pause("memory_low", leave=1)
        while not all(future.done() for future in futures):
            assert executor.tasks().running <= 2  # both may have begun before
            pausing.pause("memory_low", leave=1)  # as the watching thread does
        pausing.resume("memory_low")


@every_pool
def test_two_threads(pool):
    """A pool that two threads pause and resume many times does its tasks."""
    with pool(2) as executor:

        def play():
            for _ in range(300):
                executor.pause()
                executor.resume()

        threads = [threading.Thread(target=play) for _ in range(2)]
        for thread in threads:
            thread.start()
        futures = [executor.submit(same, number) for number in range(300)]
        for thread in threads:
            thread.join(PATIENCE)
        assert [future.result(PATIENCE) for future in futures] == list(range(300))
        assert not executor.paused_by
        assert executor.submit(same, 1).result(PATIENCE) == 1
        assert len(executor._threads) <= 2


@every_pool
def test_reason_that_comes_as_another_goes(pool):
    """A pause by the user stays, whatever a condition does at the same time."""
    with pool(1) as executor:
        pausing = executor._pausable(opens=True)
        done = threading.Event()

        def change():
            while not done.is_set():
                pausing.pause("on_battery")
                pausing.resume("on_battery")

        thread = threading.Thread(target=change)
        thread.start()
        kept = []
        for _ in range(100):
            executor.pause()
            time.sleep(0.0005)
            kept.append("pause" in executor.paused_by)
            executor.resume()
        done.set()
        thread.join(PATIENCE)
        assert all(kept)


def test_broken_in_a_pause():
    """If an initializer fails during a pause, all waiting tasks fail at once."""
    begin = threading.Event()
    executor = PriorityThreadPoolExecutor(1, initializer=lambda: begin.wait() and fail("initializer"))
    futures = [executor.submit(same, 1)]
    executor.pause()
    futures.append(executor.submit(same, 2))
    begin.set()
    for future in futures:
        with pytest.raises(BrokenThreadPool):
            future.result(PATIENCE)
    executor.shutdown()


def test_callbacks_of_cancelled_tasks():
    """A callback of a cancelled task can wait for a thread that uses the pool."""
    executor = PriorityThreadPoolExecutor(1)
    executor.pause()
    future = executor.submit(same, 1)
    resumed = threading.Event()

    def resume(_):
        threading.Thread(target=lambda: (executor.resume(), resumed.set())).start()
        assert resumed.wait(PATIENCE)

    future.add_done_callback(resume)
    executor.shutdown(cancel_futures=True)
    assert future.cancelled()
    assert resumed.is_set()


EXIT = """
import multiprocessing, os
from nicefutures import PriorityThreadPoolExecutor
from tasks import same

executor = PriorityThreadPoolExecutor(1)
executor.submit(same, 1).result()
pausing = executor._pausable(opens=True)
pausing.pause("on_battery")
if {forks}:
    executor.submit(print, "done")
    process = multiprocessing.get_context("fork").Process(target=same, args=(1,))
    process.start()
    process.join({patience})
    print(process.exitcode)
    pausing.resume("on_battery")
"""


@pytest.mark.parametrize("how", ["idle", pytest.param("forks", marks=forks)])
def test_exit(how):
    """An exit without tasks does not wait for a condition. A forked child leaves the tasks to its parent."""
    printed = run_python(EXIT.format(forks=how == "forks", patience=PATIENCE))
    assert printed.split() == ([] if how == "idle" else ["0", "done"])


def test_bad_luck():
    """A pool that has been shut down, or is broken, cannot be paused."""
    executor = PriorityThreadPoolExecutor(1)
    executor.resume()
    executor.shutdown()
    with pytest.raises(RuntimeError, match="shutdown"):
        executor.pause()
    executor = PriorityThreadPoolExecutor(1, initializer=fail, initargs=("initializer",))
    executor.submit(same, 1)
    wait_until(lambda: executor._broken)
    with pytest.raises(BrokenThreadPool):
        executor.pause()
    executor.shutdown()


def test_level_after_the_end():
    """After the shutdown, a new level is no error: there is no thread that cannot have it."""
    executor = PriorityThreadPoolExecutor(1, on_denied="raise")
    executor.submit(identify).result(PATIENCE)
    executor.shutdown()
    executor.priority = "idle"
    assert executor.priority is ThreadPriority.IDLE


@needs_privilege
@every_pool
def test_other_level(pool, tmp_path):
    """A new level applies to the running threads and to later ones."""
    with pool(2) as executor:
        (future,), end = hold_all(executor, tmp_path, 1)
        executor.priority = "lowest"
        assert executor.priority is ThreadPriority.LOWEST
        assert [worker.priority for worker in executor.workers()] == [ThreadPriority.LOWEST]
        end()
        future.result(PATIENCE)
        levels = {executor.submit(get_thread_priority).result(PATIENCE) for _ in range(5)}
        assert levels == {ThreadPriority.LOWEST}
        executor.priority = ThreadPriority.NORMAL
        assert executor.submit(get_thread_priority).result(PATIENCE) is ThreadPriority.NORMAL
        with pytest.raises(ValueError, match="slow"):
            executor.priority = "slow"
        assert "'normal'" in repr(executor)


def test_nothing_keeps_an_executor():
    """Counting the tasks leaves no frame that keeps the executor alive."""
    executor = PriorityThreadPoolExecutor(1)
    executor.submit(identify).result(PATIENCE)
    executor.tasks()
    (thread,) = executor._threads
    del executor
    thread.join(PATIENCE)
    assert not thread.is_alive()
