"""Main modules of every origin, and how workers get their functions and classes."""

import os
import subprocess
import sys
import textwrap
import zipfile

import pytest

from asking import WINDOWS
from marks import FRESH, METHODS, one_less, posix_only
from patience import PATIENCE
from programs import environment

pytestmark = pytest.mark.every_python

# Since 3.14 a fork server imports the main module itself; before, each of its workers does, like a spawned one.
SPARE = "forkserver" if sys.version_info < (3, 14) else "spawn"
each_method = pytest.mark.parametrize("method", one_less(METHODS, SPARE))
each_fresh_method = pytest.mark.parametrize("method", one_less(FRESH, SPARE))

# The code of a notebook, a session, or a script without a guard. It prints a line whenever its top level runs.
BODY = """
import dataclasses, multiprocessing, os, sys
from nicefutures import LowPriorityProcessPoolExecutor

print("top level", flush=True)
FACTOR = 3
begun = None

@dataclasses.dataclass
class Point:
    x: int

def scaled(point):
    return Point(FACTOR * point.x)

def begin(point):
    global begun
    begun = point

context = multiprocessing.get_context({method!r})
executor = LowPriorityProcessPoolExecutor(2, context, initializer=begin, initargs=(Point(1),))
point = executor.submit(scaled, Point(2)).result()
print(type(point) is Point, point)
print([each.x for each in executor.map(scaled, map(Point, range(4)))])
print([each.x for each in executor.map(lambda each: scaled(each), map(Point, range(4)), chunksize="auto")])
print(executor.submit(lambda: begun).result())
FACTOR = 5
print(executor.submit(scaled, Point(2)).result())
executor.shutdown()
"""
WANTED = """top level
True Point(x=6)
[0, 3, 6, 9]
[0, 3, 6, 9]
Point(x=1)
Point(x=10)
"""
GUARDED = """
import multiprocessing, sys
from nicefutures import LowPriorityProcessPoolExecutor

class Point:
    made = []
    def __init__(self, x):
        self.x = x

def scaled(point):
    return Point(3 * point.x)

def main(method):
    with LowPriorityProcessPoolExecutor(2, multiprocessing.get_context(method)) as executor:
        point = executor.submit(scaled, Point(2)).result()
        print(type(point) is Point, point.x)
        print([each.x for each in executor.map(lambda each: scaled(each), map(Point, range(4)))])

if __name__ == "__main__":
    main({method!r})
"""
WANTED_OF_GUARDED = """True 6
[0, 3, 6, 9]
"""


def run(*arguments, given=None, cwd=None):
    result = subprocess.run(
        [sys.executable, *map(str, arguments)],
        input=given,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
        env=environment(PYTHONDONTWRITEBYTECODE="1"),
        cwd=cwd,
    )
    # Standard error is empty: a worker that imports the main module again, or dies, would write to it.
    assert result.stderr.replace(">>> ", "").replace("... ", "").strip() == ""
    assert result.returncode == 0
    return result.stdout


def body(method, how=BODY):
    return how.format(method=method)


@each_method
def test_command(method):
    """``python -c`` works."""
    assert run("-c", body(method)) == WANTED


@each_method
def test_standard_input(method):
    """``python < script`` works."""
    assert run("-", given=body(method)) == WANTED


@each_method
def test_session(method, tmp_path):
    """``python -i`` works, with a file and without one."""
    typed = "\n".join(f"exec({text!r})" for text in body(method).split("\n\n")) + "\n"
    assert run("-i", "-q", given=typed) == WANTED
    (tmp_path / "start.py").write_text("started = 1\n")
    assert run("-i", tmp_path / "start.py", given=typed) == WANTED


@each_fresh_method
@pytest.mark.parametrize("how", ["plain", "function", "with", "thread"])
def test_script_without_guard(method, how, tmp_path):
    """A script without a guard works, and its top level runs only once."""
    text = body(method)
    if how == "function":
        head, tail = text.split("executor = ")
        text = head + "def main():\n    global FACTOR\n" + textwrap.indent("executor = " + tail, "    ") + "main()\n"
    elif how == "with":
        head, tail = text.split("executor = ")
        text = head + "if FACTOR:\n" + textwrap.indent("executor = " + tail, "    ")
    elif how == "thread":
        head, tail = text.split("executor = ")
        text = head + "def main():\n    global FACTOR\n" + textwrap.indent("executor = " + tail, "    ")
        text += "import threading\nthread = threading.Thread(target=main)\nthread.start()\nthread.join()\n"
    (tmp_path / "script.py").write_text(text)
    assert run(tmp_path / "script.py") == WANTED
    if how == "plain":
        assert run("-m", "script", cwd=tmp_path) == WANTED


@each_method
def test_script_with_guard(method, tmp_path):
    """A script with a guard works, and sends its functions by name, as always."""
    (tmp_path / "script.py").write_text(body(method, GUARDED))
    assert run(tmp_path / "script.py") == WANTED_OF_GUARDED
    assert run("-m", "script", cwd=tmp_path) == WANTED_OF_GUARDED


@each_method
@pytest.mark.parametrize("text", [GUARDED, BODY], ids=["guarded", "without guard"])
def test_package(method, text, tmp_path):
    """``python -m package``, a folder and a zip file work, although multiprocessing imports none of them."""
    wanted = WANTED if text is BODY else WANTED_OF_GUARDED
    if method == "fork" and text is BODY:  # a forked worker keeps its first globals, as in the standard library
        wanted = wanted.replace("x=10", "x=6")
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(body(method, text))
    assert run("-m", "package", cwd=tmp_path) == wanted
    assert run(package) == wanted
    with zipfile.ZipFile(tmp_path / "app.pyz", "w") as file:
        file.writestr("__main__.py", body(method, text))
    assert run(tmp_path / "app.pyz") == wanted


MODULE = """
import multiprocessing
from nicefutures import LowPriorityProcessPoolExecutor

FACTOR = 3

def scaled(number):
    return FACTOR * number

executor = LowPriorityProcessPoolExecutor(2, multiprocessing.get_context({method!r}))
for submit in (executor.submit, executor.map):
    try:
        submit(scaled, [2])
    except RuntimeError as error:
        print(error)
executor.shutdown()
"""


@each_fresh_method
def test_module_that_uses_a_pool_while_it_is_imported(method, tmp_path):
    """A pool in a module's import is an error, because a worker would import the module and do the same."""
    (tmp_path / "module.py").write_text(body(method, MODULE))
    printed = run("-c", "import module", cwd=tmp_path).splitlines()
    assert len(printed) == 2
    assert all("while its module 'module' is being imported" in line for line in printed)


DEFINED_AGAIN = """
import functools, sys, types
from nicefutures import LowPriorityProcessPoolExecutor

factor = 2

def scaled(number):
    return Point(factor * number)

class Point:
    def __init__(self, x):
        self.x = x

    def more(self):
        return self.x + 1

def show(executor):
    main = sys.modules["__main__"]
    point = executor.submit(main.scaled, 1).result()
    print(type(point) is main.Point, point.x, executor.submit(main.Point.more, point).result(), end=" ")
    print([each.x for each in executor.map(functools.partial(main.scaled), range(3))])

AGAIN = '''
def scaled(number):
    return Point(factor * number)

class Point:
    def __init__(self, x):
        self.x = x

    def more(self):
        return self.x + 2
'''

if __name__ == "__main__":
    with LowPriorityProcessPoolExecutor(2, METHOD) as executor:
        show(executor)
        factor = 10
        exec(AGAIN)
        show(executor)
        module = sys.modules["__main__"] = types.ModuleType("__main__")
        module.__file__ = __file__
        module.factor = 30
        exec(AGAIN, vars(module))
        show(executor)
        exec("def added(): return factor", vars(module))
        print(executor.submit(module.added).result())
"""


@pytest.mark.parametrize("method", METHODS)
def test_defined_again(method, tmp_path):
    """The newest definition of a function or a class counts, also in a main module that a host has replaced."""
    (tmp_path / "script.py").write_text(DEFINED_AGAIN.replace("METHOD", repr(method)))
    printed = run(tmp_path / "script.py").splitlines()
    assert printed == ["True 2 3 [0, 2, 4]", "True 10 12 [0, 10, 20]", "True 30 32 [0, 30, 60]", "30"]


ONLY_HERE = """
import sys, types
from nicefutures import LowPriorityProcessPoolExecutor

if __name__ == "__main__":
    sys.modules["host"] = types.ModuleType("host")
    plugin = sys.modules["host.plugin"] = types.ModuleType("host.plugin")
    other = sys.modules["other"] = types.ModuleType("other")
    exec("def twice(number): return 2 * number", vars(other))
    exec('''
import other

started = None

def begin():
    global started
    started = 5

class Point:
    def __init__(self, x):
        self.x = x

def scaled(point):
    return Point(other.twice(point.x) + (started or 0))
''', vars(plugin))

    class Guarded(plugin.Point):
        pass

    def guarded(point):
        return Guarded(point.x + 1)

    def show(points):
        print([type(point).__name__ for point in points], [point.x for point in points])

    for begin in (plugin.begin, None):
        with LowPriorityProcessPoolExecutor(2, METHOD, begin) as executor:
            show([executor.submit(plugin.scaled, plugin.Point(1)).result(), *executor.map(plugin.scaled, [Guarded(2)])])
        with LowPriorityProcessPoolExecutor(2, METHOD, begin) as executor:
            show([*executor.map(guarded, [Guarded(2)]), executor.submit(guarded, plugin.Point(1)).result()])
            show([*executor.map(lambda point: guarded(point), map(Guarded, range(3)))])
"""


@pytest.mark.parametrize("method", METHODS)
def test_only_here(method, tmp_path):
    """Objects that a worker does not find go by value: those of a plug-in or below the guard, and an initializer."""
    (tmp_path / "script.py").write_text(ONLY_HERE.replace("METHOD", repr(method)))
    assert run(tmp_path / "script.py").splitlines() == [
        "['Point', 'Point'] [7, 9]",
        "['Guarded', 'Guarded'] [3, 2]",
        "['Guarded', 'Guarded', 'Guarded'] [1, 2, 3]",
        "['Point', 'Point'] [2, 4]",
        "['Guarded', 'Guarded'] [3, 2]",
        "['Guarded', 'Guarded', 'Guarded'] [1, 2, 3]",
    ]


TOOL = """
import multiprocessing, sys, types

main = sys.modules["__main__"] = types.ModuleType("__main__")
main.__file__ = sys.argv[1]
with open(sys.argv[1]) as file:
    exec(compile(file.read(), sys.argv[1], "exec"), vars(main))
"""


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("text", [GUARDED, BODY], ids=["guarded", "without guard"])
def test_tool_that_runs_a_script(method, text, tmp_path):
    """A script works in a tool that replaces its own main module with it, such as coverage or a profiler."""
    (tmp_path / "tool.py").write_text(TOOL)
    (tmp_path / "script.py").write_text(body(method, text))
    wanted = WANTED_OF_GUARDED if text is GUARDED else WANTED
    if method == "fork":
        wanted = wanted.replace("x=10", "x=6")
    assert run(tmp_path / "tool.py", tmp_path / "script.py") == wanted


@pytest.mark.parametrize("method", METHODS)
def test_no_main_module(method):
    """A program without a main module works, such as an application that embeds Python."""
    code = f"""
import math, sys
from nicefutures import LowPriorityProcessPoolExecutor
del sys.modules["__main__"]
with LowPriorityProcessPoolExecutor(1, {method!r}) as executor:
    print(executor.submit(math.sqrt, 4).result(), executor.submit(lambda: 3).result())
"""
    assert run("-c", code) == "2.0 3\n"


def test_guard_of_another_kind(tmp_path):
    """A script that tests its ``__name__`` in any way counts as guarded."""
    asks = 'if "mp_main" in __name__: pass\nelif __name__ == "__main__":'
    text = body("spawn", GUARDED).replace('if __name__ == "__main__":', asks)
    (tmp_path / "script.py").write_text(text)
    assert run(tmp_path / "script.py") == WANTED_OF_GUARDED


@pytest.mark.skipif(WINDOWS, reason="a pseudo-terminal")
def test_typed_at_a_prompt():
    """In a session at a terminal, the newest definition of a function counts."""
    import pty
    import select

    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-q"],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env=environment(PYTHON_BASIC_REPL="1", TERM="dumb"),
    )
    os.close(follower)
    lines = [
        "import multiprocessing; from nicefutures import LowPriorityProcessPoolExecutor as Pool",
        "pool = Pool(1, multiprocessing.get_context('spawn'))",
        "def f(x): return x + 1",
        "",
        "print('first', pool.submit(f, 1).result())",
        "def f(x): return x + 2",
        "",
        "print('then', pool.submit(f, 1).result(), list(pool.map(f, [1])))",
        "pool.shutdown(); exit()",
    ]
    seen = b""
    os.write(leader, "\n".join([*lines, ""]).encode())
    while select.select([leader], [], [], PATIENCE)[0]:
        try:
            part = os.read(leader, 4096)
        except OSError:  # the process has ended
            break
        seen += part
    assert process.wait(PATIENCE) == 0
    os.close(leader)
    assert b"first 2" in seen
    assert b"then 3 [3]" in seen


@posix_only
@pytest.mark.parametrize("method", ["loky", "loky_init_main"])
def test_context_of_loky(method, tmp_path):
    """Loky's contexts work, whether or not their processes import the main module."""
    pytest.importorskip("joblib")
    text = body(method, GUARDED).replace("multiprocessing.get_context", "get_context")
    (tmp_path / "script.py").write_text("from joblib.externals.loky.backend.context import get_context\n" + text)
    assert run(tmp_path / "script.py") == WANTED_OF_GUARDED


@posix_only
def test_executable_of_workers(tmp_path):
    """Workers run the executable that was passed to `multiprocessing.set_executable`."""
    wrapper = tmp_path / "python"
    wrapper.write_text(f'#!/bin/sh\nexport STARTED_BY=wrapper\nexec {sys.executable} "$@"\n')
    wrapper.chmod(0o755)
    code = f"""
import multiprocessing, os
from nicefutures import LowPriorityProcessPoolExecutor
multiprocessing.set_executable({str(wrapper)!r})
with LowPriorityProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor:
    print(executor.submit(os.getenv, "STARTED_BY").result())
"""
    assert run("-c", code) == "wrapper\n"


@posix_only
def test_worker_without_cloudpickle(tmp_path):
    """If a worker lacks cloudpickle, the error of the task says so."""
    (tmp_path / "cloudpickle.py").write_text("raise ModuleNotFoundError('No module named cloudpickle')")
    code = f"""
import cloudpickle, multiprocessing, sys
from nicefutures import LowPriorityProcessPoolExecutor
sys.path.insert(0, {str(tmp_path)!r})  # which workers get
with LowPriorityProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor:
    for function in (abs, lambda number: number, abs):
        future = executor.submit(function, -1)
        print(future.exception() or future.result())
"""
    first, error, last = run("-c", code).splitlines()
    assert "No module named cloudpickle" in error
    assert (first, last) == ("1", "1")


@posix_only
def test_fork_server_has_what_workers_need():
    """A fork server preloads the workers' module, which each worker would import, beside the program's own modules."""
    code = """
import multiprocessing, sys
from nicefutures import LowPriorityProcessPoolExecutor
multiprocessing.set_forkserver_preload(["this"])
with LowPriorityProcessPoolExecutor(1, "forkserver") as executor:
    print(executor.submit(eval, "[name in __import__('sys').modules for name in ('this', 'nicefutures')]").result())
    print(multiprocessing.forkserver._forkserver._preload_modules)
"""
    assert run("-c", code).endswith("[True, True]\n['this', 'nicefutures._processes.worker_main']\n")
