"""What a worker logs and warns of reaches the parent, if asked for."""

import atexit
import logging
import os
import threading
import warnings

import pytest

from handing_over import same
from nicefutures import LowPriorityProcessPoolExecutor
from patience import PATIENCE, wait_until

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
    """One that cannot be pickled."""


def begin():
    logging.getLogger("begin").warning("a worker begins")


def test_records(context, caplog):
    """Records come with the worker's id, their text made, in the order in which they were logged."""
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
    """The level of the parent's root logger counts."""
    with caplog.at_level(logging.DEBUG), LowPriorityProcessPoolExecutor(1, context, forward_logs=True) as executor:
        executor.submit(log, "number %d", 7).result(PATIENCE)
    assert "not this" in caplog.messages


def test_off_by_default(context, caplog):
    """Nothing comes unless it is asked for."""
    with LowPriorityProcessPoolExecutor(1, context) as executor:
        executor.submit(log, "number %d", 7).result(PATIENCE)
    assert caplog.records == []


def test_warnings(context):
    """A warning is shown once, and not once from each worker."""
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


def test_wrong_flag():
    """An error says what is allowed."""
    with pytest.raises(TypeError, match="forward_logs must be True or False"):
        LowPriorityProcessPoolExecutor(1, forward_logs=1)


class OddRecord(logging.LogRecord):
    """One of somebody's own."""


def log_own_record():
    logging.setLogRecordFactory(OddRecord)
    logging.getLogger("of.a.task").warning("own")
    return 1


def test_own_records(caplog):
    """They arrive, and the answer is the answer."""
    with LowPriorityProcessPoolExecutor(1, forward_logs=True) as executor:
        assert executor.submit(log_own_record).result(PATIENCE) == 1
        assert executor.submit(same, 2).result(PATIENCE) == 2
    assert [record.message for record in caplog.records] == ["own"]


def test_loggers_with_handlers_of_their_own(context):
    """What one handles goes to its handler here, once, and not to a copy in the worker."""
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
    """Log when the worker has come to its end, and open files in between, which get the number of its pipe."""

    def log():
        files = [open(path / f"file-{number}", "wb", buffering=0) for number in range(20)]  # noqa: SIM115
        logging.getLogger("end").error("too late")
        (path / "done").touch()
        for file in files:
            file.close()

    atexit.register(log)
    threading.Thread(target=lambda: (threading.main_thread().join(), log())).start()


def test_log_after_the_end(context, tmp_path):
    """What a worker logs when its pipe is closed goes nowhere, and least of all into another file."""
    with LowPriorityProcessPoolExecutor(1, context, forward_logs=True) as executor:
        executor.submit(log_at_the_end, tmp_path).result(PATIENCE)
    wait_until((tmp_path / "done").exists)
    for path in tmp_path.glob("file-*"):
        assert path.read_bytes() == b""
