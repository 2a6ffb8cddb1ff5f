"""joblib with our backend: ``python joblib_main.py SCENARIO``, in its own process, as joblib keeps its workers."""

import os
import sys
import time
import warnings

import joblib
import numpy as np
import pytest
from joblib import Parallel, delayed

from asking import PROCESS, ask_threads
from nicefutures import PriorityError, PriorityWarning, ProcessPriority, get_process_priority
from nicefutures.integrations.joblib import register
from programs import FORBID

IDLE = {PROCESS[ProcessPriority.IDLE]}
BELOW_NORMAL = {PROCESS[ProcessPriority.BELOW_NORMAL]}
NORMAL = {PROCESS[ProcessPriority.NORMAL]}


def report(_=None):
    time.sleep(0.02)
    return os.getpid(), set(ask_threads())


def check(found, level):
    assert {frozenset(levels) for _, levels in found} == {frozenset(level)}, found
    assert os.getpid() not in {pid for pid, _ in found}
    assert set(ask_threads()) == NORMAL


def power(number):
    return number**3 % 1001


def fail(number):
    if number == 50:
        raise KeyError(number)
    return number


def look_at(array):
    return type(array).__name__, float(array[1000]), os.environ["OPENBLAS_NUM_THREADS"]


def inner(number):
    return Parallel(n_jobs=2)(delayed(pow)(number, k) for k in range(3)), report()[1]


def inner_by_name(number):
    return Parallel(n_jobs=2, backend="nicefutures")(delayed(power)(number + k) for k in range(3))


def note(place):
    os.environ["NOTED"] = place


def noted(_):
    return os.environ["NOTED"]


def levels():
    """The workers are at the level, their parent is not, and the results are those of joblib's own backend."""
    expected = Parallel(n_jobs=2, backend="loky")(delayed(power)(number) for number in range(1000))
    with joblib.parallel_config("nicefutures", n_jobs=2):
        assert Parallel()(delayed(power)(number) for number in range(1000)) == expected
        check(Parallel()(delayed(report)() for _ in range(6)), IDLE)
        assert Parallel()(delayed(lambda number: -number)(number) for number in range(3)) == [0, -1, -2]
        ordered = Parallel(return_as="generator")(delayed(power)(number) for number in range(30))
        assert list(ordered) == expected[:30]
        unordered = Parallel(return_as="generator_unordered")(delayed(power)(number) for number in range(30))
        assert sorted(unordered) == sorted(expected[:30])
        with pytest.raises(KeyError, match="50"):
            Parallel()(delayed(fail)(number) for number in range(100))
        check(Parallel()(delayed(report)() for _ in range(6)), IDLE)
        assert Parallel(n_jobs=1)(delayed(os.getpid)() for _ in range(2)) == [os.getpid()] * 2
    with joblib.parallel_config("nicefutures", n_jobs=2, priority=ProcessPriority.BELOW_NORMAL):
        check(Parallel()(delayed(report)() for _ in range(6)), BELOW_NORMAL)
    check(Parallel(n_jobs=2)(delayed(report)() for _ in range(6)), NORMAL)  # loky's own again
    check(Parallel(n_jobs=2, backend="nicefutures")(delayed(report)() for _ in range(6)), IDLE)


def memory():
    """A large array is shared, and joblib sets the number of BLAS threads."""
    array = np.arange(1_000_000.0)
    each = max(joblib.cpu_count() // 2, 1)
    with joblib.parallel_config("nicefutures", n_jobs=2):
        assert set(Parallel()(delayed(look_at)(array) for _ in range(4))) == {("memmap", 1000.0, str(each))}
        assert set(Parallel()(delayed(look_at)(array[:2000]) for _ in range(4))) == {("ndarray", 1000.0, str(each))}
    with joblib.parallel_config("nicefutures", n_jobs=2, inner_max_num_threads=3):
        assert set(Parallel()(delayed(look_at)(array) for _ in range(4))) == {("memmap", 1000.0, "3")}


def nested():
    """Nested calls work as in joblib's own workers, at the worker's level; the backend's name is known there."""
    with joblib.parallel_config("nicefutures", n_jobs=2):
        assert Parallel()(delayed(inner)(number) for number in range(3)) == [
            ([1, number, number**2], IDLE) for number in range(3)
        ]
        assert Parallel()(delayed(inner_by_name)(number) for number in range(2)) == [[0, 1, 8], [1, 8, 27]]
    with joblib.parallel_config("nicefutures", n_jobs=2, initializer=note, initargs=("here",)):
        assert Parallel()(delayed(noted)(number) for number in range(2)) == ["here", "here"]


def scikit_learn():
    """scikit-learn uses the backend without changes."""
    from sklearn.datasets import make_classification
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, cross_val_score

    x, y = make_classification(300, random_state=0)
    model, grid = LogisticRegression(), {"C": [0.01, 0.1, 1]}
    alone = cross_val_score(model, x, y), GridSearchCV(model, grid).fit(x, y).cv_results_["mean_test_score"]
    with joblib.parallel_config("nicefutures"):
        ours = (
            cross_val_score(model, x, y, n_jobs=2),
            GridSearchCV(model, grid, n_jobs=2).fit(x, y).cv_results_["mean_test_score"],
        )
        scores = cross_val_score(model, x, y, n_jobs=2, scoring=score_by_level)
    for theirs, found in zip(alone, ours, strict=True):
        np.testing.assert_array_equal(theirs, found)
    assert set(scores) == {float(ProcessPriority.IDLE)}


def score_by_level(_model, _x, _y):
    return float(get_process_priority())


def forbidden():
    """A level that cannot be set gives one warning, at the line that chose the backend; or errors; or nothing."""
    for options, count in (({}, 1), ({"on_denied": "ignore"}, 0)):
        with warnings.catch_warnings(record=True) as log:
            warnings.simplefilter("always")
            with joblib.parallel_config("nicefutures", n_jobs=2, **options):
                check(Parallel()(delayed(report)() for _ in range(6)), NORMAL)
                check(Parallel()(delayed(report)() for _ in range(6)), NORMAL)
        ours = [warning for warning in log if issubclass(warning.category, PriorityWarning)]
        assert len(ours) == count, [str(warning.message) for warning in log]
        assert all(warning.filename == __file__ for warning in ours), ours[0].filename
    refusing = joblib.parallel_config("nicefutures", n_jobs=2, on_denied="raise")
    with refusing, pytest.raises(PriorityError, match="container"):
        Parallel()(delayed(report)() for _ in range(6))
    with warnings.catch_warnings():
        warnings.simplefilter("error", PriorityWarning)
        with pytest.raises(PriorityWarning):
            Parallel(n_jobs=2, backend="nicefutures")(delayed(report)() for _ in range(6))


if __name__ == "__main__":
    if sys.argv[1] == "forbidden":
        exec(FORBID + "    forbid(SCHED_SETSCHEDULER, SETPRIORITY, IOPRIO_SET)", {"__name__": "__main__"})
    register()
    globals()[sys.argv[1]]()
