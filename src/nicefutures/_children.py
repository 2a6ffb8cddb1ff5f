"""Starts a process at another priority than that of the calling process."""

import subprocess
from typing import Any

from ._control import warn_of
from ._levels import OnDenied, PriorityError, ProcessPriority, Shortfall, parse_on_denied, parse_priority
from ._public import public
from ._system import backend


@public
def start_process(
    args: Any, *, priority: ProcessPriority | str = "normal", on_denied: OnDenied = "warn", **options: Any
) -> "subprocess.Popen[Any]":
    r"""Start a process at a priority. Without this, a process that a task starts keeps the priority of its worker.

    Parameters
    ----------
    args : str or list of str
        The program and its arguments, as for `subprocess.Popen`.
    priority : ProcessPriority or str, default "normal"
        The priority, or its name in upper or lower case.
    on_denied : {"warn", "raise", "ignore"}, default "warn"
        What to do if the priority cannot be set. With "raise" the process is not started, or terminated at once.
    **options
        Options of `subprocess.Popen`.

    Returns
    -------
    subprocess.Popen
        The process, at the priority, or as near to it as possible. I/O priority, and on Linux `oom_score_adj`, are
        restored, too. A memory limit, the environment and the group of ``isolate=True`` stay.

    Raises
    ------
    ValueError
        If `priority` or `on_denied` is unknown.
    PriorityError
        If the priority cannot be set and `on_denied` is "raise".
    OSError
        If the program cannot be started.

    Warns
    -----
    PriorityWarning
        If the priority cannot be set. On Linux and macOS a process needs a privilege to be higher than this one.

    Notes
    -----
    On Linux and Windows the process has the priority from the beginning; elsewhere it is set after the start. On Linux
    a temporary thread starts it, so a ``PR_SET_PDEATHSIG`` that `preexec_fn` sets takes effect at once.

    Examples
    --------
    >>> import sys
    >>> from nicefutures import start_process
    >>> with start_process([sys.executable, "-c", "print(1 + 1)"], stdout=-1, text=True) as process:
    ...     process.communicate()[0]
    '2\n'
    """
    level = parse_priority(ProcessPriority, priority)
    parse_on_denied(on_denied)
    started: list[subprocess.Popen[Any]] = []
    missing: list[Shortfall] = []

    def popen(*, creationflags: int = 0) -> "subprocess.Popen[Any]":
        flags = options.get("creationflags", 0) | creationflags

        def start() -> "subprocess.Popen[Any]":
            started.append(subprocess.Popen(args, **{**options, "creationflags": flags}))
            return started[0]

        shortfall = backend.background.start_child(level, start)
        if shortfall is not None:
            tell(shortfall)
        return started[0]

    def tell(shortfall: Shortfall) -> None:
        if on_denied == "raise":
            raise PriorityError(shortfall)
        missing.append(shortfall)

    try:
        backend.priority.start(level, popen, tell)
        if missing and on_denied == "warn":
            warn_of(missing[0], stacklevel=3)
    except BaseException:
        for process in started:
            with process:
                process.kill()
        raise
    return started[0]
