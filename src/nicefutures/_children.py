"""Starting a process at another level than that of the one that starts it."""

import subprocess
from typing import Any

from ._control import warn_of
from ._levels import OnFailure, PriorityError, ProcessPriority, Shortfall, parse_on_failure, parse_priority
from ._system import backend


def start_process(
    args: Any, *, priority: ProcessPriority | str = "normal", on_failure: OnFailure = "warn", **options: Any
) -> "subprocess.Popen[Any]":
    r"""Start a process at a priority level: what a task starts is at the level of its worker otherwise, for good.

    Parameters
    ----------
    args : str or list of str
        The program and its arguments, as `subprocess.Popen` takes them.
    priority : ProcessPriority or str, default "normal"
        The level, or its name in any case.
    on_failure : {"warn", "raise", "ignore"}, default "warn"
        What to do where the operating system does not let it be there. With "raise" the process is not started, or
        ended at once.
    **options
        Of `subprocess.Popen`.

    Returns
    -------
    subprocess.Popen
        The process, at the level, or as near as the system lets it be, and without what the worker has set for itself
        besides: I/O, and on Linux whose memory is taken first. A memory limit, the environment and the group of
        ``isolate="auto"`` stay.

    Raises
    ------
    ValueError
        If there is no such level or `on_failure`.
    PriorityError
        If the level is not to be had and `on_failure` is "raise".
    OSError
        If the program cannot be started, as from `subprocess.Popen`.

    Warns
    -----
    PriorityWarning
        If the level is not to be had: on Linux and macOS it takes a privilege to go up from the one that this process
        has, on Windows it does not.

    Notes
    -----
    On Linux the process has its level from the beginning, on Windows its class; elsewhere it is set when it has begun.
    On Linux a thread of its own starts it, and ends then: a ``PR_SET_PDEATHSIG`` that `preexec_fn` sets comes at once.

    Examples
    --------
    >>> import sys
    >>> from nicefutures import start_process
    >>> with start_process([sys.executable, "-c", "print(1 + 1)"], stdout=-1, text=True) as process:
    ...     process.communicate()[0]
    '2\n'
    """
    level = parse_priority(ProcessPriority, priority)
    parse_on_failure(on_failure)
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
        if on_failure == "raise":
            raise PriorityError(shortfall)
        missing.append(shortfall)

    try:
        backend.priority.start(level, popen, tell)
        if missing and on_failure == "warn":
            warn_of(missing[0], stacklevel=3)
    except BaseException:
        for process in started:
            with process:
                process.kill()
        raise
    return started[0]
