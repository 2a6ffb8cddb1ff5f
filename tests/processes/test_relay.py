"""Log records and warnings of workers reach the parent with `forward_logs`."""

import atexit
import logging
import os
import signal
import threading
import warnings

import pytest

from marks import posix_only
from nicefutures import LowPriorityProcessPoolExecutor
from patience import PATIENCE, wait_until
from tasks import same

pytestmark = pytest.mark.every_python


def log(text, number):
    logging.getLogger("of.a.task").warning(text, number)
    logging.getLogger("of.a.task").debug("not this")
    try:
        raise ValueError(text)
    except ValueError:
        logging.getLogger().exception("with a traceback")
    return os.getpid()


def log_in_a_thread():
    thread = threading.Thread(target=log, args=("from %d", 1))
    thread.start()
    thread.join()


def warn(number):
    warnings.warn("an old way", DeprecationWarning, stacklevel=1)
    warnings.warn("so it is", UserWarning, stacklevel=1)
    return number


def warn_oddly():
    warnings.warn(OddWarning(threading.Lock()), stacklevel=1)


class OddWarning(UserWarning):
    """A warning that cannot be pickled."""


def begin():
    logging.getLogger("begin").warning("a worker begins")


def test_records(context, caplog):
    """Records arrive in the order in which they were logged, with the worker's id and their complete text."""
    with LowPriorityProcessPoolExecutor(1, context, forward_logs=True, initializer=begin) as executor:
        pid = executor.submit(log, "number %d", 7).result(PATIENCE)
        assert [record.getMessage() for record in caplog.records] == [
            "a worker begins",
            "number 7",
            "with a traceback\nTraceback" + caplog.records[-1].getMessage().partition("Traceback")[2],
        ]
        assert {record.process for record in caplog.records} == {pid}
        assert caplog.records[1].name == "of.a.task"
        assert "ValueError: number %d" in caplog.records[-1].getMessage()
        executor.submit(log_in_a_thread).result(PATIENCE)
        assert len(caplog.records) == 5


def test_level(context, caplog):
    """Workers use the level of the parent's root logger."""
    with caplog.at_level(logging.DEBUG), LowPriorityProcessPoolExecutor(1, context, forward_logs=True) as executor:
        executor.submit(log, "number %d", 7).result(PATIENCE)
    assert "not this" in caplog.messages


def test_off_by_default(context, caplog):
    """By default no record arrives."""
    with LowPriorityProcessPoolExecutor(1, context) as executor:
        executor.submit(log, "number %d", 7).result(PATIENCE)
    assert caplog.records == []


def test_warnings(context):
    """A warning is shown once, and not once for each worker."""
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        with LowPriorityProcessPoolExecutor(
            2, context, forward_logs=True, initializer=warnings.simplefilter, initargs=("always",)
        ) as executor:
            assert list(executor.map(warn, range(20))) == list(range(20))
            executor.submit(warn_oddly).result(PATIENCE)
            executor.submit(same, 1).result(PATIENCE)
    told = [(warning.category, str(warning.message)) for warning in shown if warning.filename == __file__]
    assert told.count((DeprecationWarning, "an old way")) == 1
    assert told.count((UserWarning, "so it is")) == 1
    assert any("lock" in text for _, text in told)


def test_filters():
    """The parent's filters apply to workers' warnings; one that they make an error is shown, as it has no task."""
    for action, is_shown in (("ignore", False), ("error", True)):
        with warnings.catch_warnings(record=True) as shown:
            warnings.simplefilter("always")
            warnings.filterwarnings(action, category=DeprecationWarning, module=__name__)
            options = {"forward_logs": True, "initializer": warnings.simplefilter, "initargs": ("always",)}
            with LowPriorityProcessPoolExecutor(1, "spawn", **options) as executor:
                executor.submit(warn, 0).result(PATIENCE)
        assert any(str(warning.message) == "an old way" for warning in shown) == is_shown


def test_wrong_flag():
    """The error names the allowed values."""
    with pytest.raises(TypeError, match="forward_logs must be True or False"):
        LowPriorityProcessPoolExecutor(1, forward_logs=1)


class OddRecord(logging.LogRecord):
    """A record of a user's own class."""


def log_own_record():
    logging.setLogRecordFactory(OddRecord)
    logging.getLogger("of.a.task").warning("own")
    return 1


def test_own_records(caplog):
    """Records of a user's own class arrive, and do not affect the results of tasks."""
    with LowPriorityProcessPoolExecutor(1, forward_logs=True) as executor:
        assert executor.submit(log_own_record).result(PATIENCE) == 1
        assert executor.submit(same, 2).result(PATIENCE) == 2
    assert [record.message for record in caplog.records] == ["own"]


def test_loggers_with_handlers_of_their_own(context):
    """A record of such a logger goes once to its handler in the parent, and not to a copy in the worker."""
    records = []
    logger = logging.getLogger("of.a.task")
    handler = logging.Handler()
    handler.emit = records.append
    logger.addHandler(handler)
    logger.propagate = False
    try:
        with LowPriorityProcessPoolExecutor(1, context, forward_logs=True) as executor:
            pid = executor.submit(log, "from %d", 1).result(PATIENCE)
    finally:
        logger.removeHandler(handler)
        logger.propagate = True
    assert [(record.message, record.process) for record in records] == [("from 1", pid)]


def log_at_the_end(path):
    """Log while the worker exits, after opening files that may get the number of its closed pipe."""

    def log():
        files = [open(path / f"file-{number}", "wb", buffering=0) for number in range(20)]  # noqa: SIM115
        logging.getLogger("end").error("too late")
        (path / "done").touch()
        for file in files:
            file.close()

    atexit.register(log)
    threading.Thread(target=lambda: (threading.main_thread().join(), log())).start()


def log_in_a_handler(count):
    """Log in a signal's handler that comes in the middle of other records."""
    seen = []

    def tick(*_):
        seen.append(logging.getLogger("ticking").warning("tick"))
        signal.setitimer(signal.ITIMER_REAL, 0.001)

    signal.signal(signal.SIGALRM, tick)
    signal.setitimer(signal.ITIMER_REAL, 0.001)
    while len(seen) < count:
        logging.getLogger("working").warning("work")
    signal.setitimer(signal.ITIMER_REAL, 0)
    return len(seen)


@posix_only
def test_log_in_a_signal_handler():
    """A handler may log while the task is sending another record."""
    with LowPriorityProcessPoolExecutor(1, forward_logs=True) as executor:
        assert executor.submit(log_in_a_handler, 300).result(PATIENCE) >= 300


def test_log_after_the_end(context, tmp_path):
    """A record that is logged after the worker's pipe is closed is dropped, and never written to another file."""
    with LowPriorityProcessPoolExecutor(1, context, forward_logs=True) as executor:
        executor.submit(log_at_the_end, tmp_path).result(PATIENCE)
    wait_until((tmp_path / "done").exists)
    for path in tmp_path.glob("file-*"):
        assert path.read_bytes() == b""
