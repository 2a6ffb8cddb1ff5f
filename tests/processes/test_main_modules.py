"""Where the main module comes from, and what its functions and classes are to workers."""

import os
import subprocess
import sys
import textwrap
import zipfile

import pytest

from asking import WINDOWS
from marks import METHODS, posix_only
from patience import PATIENCE
from programs import environment

pytestmark = pytest.mark.every_python

# What is typed into a notebook, a session, or a script without a guard. It says how often its top level has run.
BODY = """
import dataclasses, multiprocessing, os, sys
from nicefutures import LowPriorityProcessPoolExecutor

print("top level", flush=True)
FACTOR = 3

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
FACTOR = 5
print(executor.submit(scaled, Point(2)).result())
executor.shutdown()
"""
WANTED = """top level
True Point(x=6)
[0, 3, 6, 9]
[0, 3, 6, 9]
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
    # Nothing but what is asked for: a worker that imports the main module anew, or dies, says so there.
    assert result.stderr.replace(">>> ", "").replace("... ", "").strip() == ""
    assert result.returncode == 0
    return result.stdout


def body(method, how=BODY):
    # A forked worker has its globals from the start in a script, as with the standard library.
    return how.format(method=method)


@pytest.mark.parametrize("method", METHODS)
def test_command(method):
    """``python -c``."""
    assert run("-c", body(method)) == WANTED


@pytest.mark.parametrize("method", METHODS)
def test_standard_input(method):
    """``python < script``."""
    assert run("-", given=body(method)) == WANTED


@pytest.mark.parametrize("method", METHODS)
def test_session(method, tmp_path):
    """``python -i``, with a file and without one."""
    typed = "\n".join(f"exec({text!r})" for text in body(method).split("\n\n")) + "\n"
    assert run("-i", "-q", given=typed) == WANTED
    (tmp_path / "start.py").write_text("started = 1\n")
    assert run("-i", tmp_path / "start.py", given=typed) == WANTED


@pytest.mark.parametrize("method", [each for each in METHODS if each != "fork"])
@pytest.mark.parametrize("how", ["plain", "function", "with", "thread"])
def test_script_without_guard(method, how, tmp_path):
    """Nothing of it runs twice, and it simply works."""
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


@pytest.mark.parametrize("method", METHODS)
def test_script_with_guard(method, tmp_path):
    """As ever: by name."""
    (tmp_path / "script.py").write_text(body(method, GUARDED))
    assert run(tmp_path / "script.py") == WANTED_OF_GUARDED
    assert run("-m", "script", cwd=tmp_path) == WANTED_OF_GUARDED


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("text", [GUARDED, BODY], ids=["guarded", "without guard"])
def test_package(method, text, tmp_path):
    """``python -m package``, a folder and a zip file: multiprocessing imports none of them."""
    wanted = WANTED if text is BODY else WANTED_OF_GUARDED
    if method == "fork" and text is BODY:
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


@pytest.mark.parametrize("method", [method for method in METHODS if method != "fork"])
def test_module_that_uses_a_pool_while_it_is_imported(method, tmp_path):
    """A worker would import it and do the same again: that is an error."""
    (tmp_path / "module.py").write_text(body(method, MODULE))
    printed = run("-c", "import module", cwd=tmp_path).splitlines()
    assert len(printed) == 2
    assert all("while its module 'module' is being imported" in line for line in printed)


def test_guard_of_another_kind(tmp_path):
    """What asks for its name has thought of workers, whatever it does then."""
    asks = 'if "mp_main" in __name__: pass\nelif __name__ == "__main__":'
    text = body("spawn", GUARDED).replace('if __name__ == "__main__":', asks)
    (tmp_path / "script.py").write_text(text)
    assert run(tmp_path / "script.py") == WANTED_OF_GUARDED


@pytest.mark.skipif(WINDOWS, reason="a pseudo-terminal")
def test_typed_at_a_prompt():
    """A session at a terminal, in which a function is defined anew."""
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
        except OSError:  # it has ended
            break
        seen += part
    assert process.wait(PATIENCE) == 0
    os.close(leader)
    assert b"first 2" in seen
    assert b"then 3 [3]" in seen


@posix_only
@pytest.mark.parametrize("method", ["loky", "loky_init_main"])
def test_context_of_loky(method, tmp_path):
    """Its processes import the main module, or do not."""
    pytest.importorskip("joblib")
    text = body(method, GUARDED).replace("multiprocessing.get_context", "get_context")
    (tmp_path / "script.py").write_text("from joblib.externals.loky.backend.context import get_context\n" + text)
    assert run(tmp_path / "script.py") == WANTED_OF_GUARDED


@posix_only
def test_executable_of_workers(tmp_path):
    """What multiprocessing is told to start is started."""
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
    """The task says what its worker lacks."""
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
