"""The seam to the kernel: all calls of it."""

import errno
import functools
import signal
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from ..._originals import open_file, os
from .ioprio import IoprioCalls
from .scheduling import IoClass, Policy, Scheduling

if TYPE_CHECKING:
    from ..._sockets import Socket


class System(Protocol):
    """The seam to the operating system. A call for a thread that has ended raises ProcessLookupError."""

    def process_id(self) -> int: ...
    def threads(self, pid: int) -> list[int]: ...
    def exists(self, pid: int) -> bool: ...
    def has_ended(self, tid: int) -> bool: ...
    def is_ours(self, pid: int) -> bool: ...
    def nice_limit(self) -> int: ...
    def read(self, tid: int) -> Scheduling: ...
    def read_cpu(self, tid: int) -> tuple[int, int]: ...
    def set_policy(self, tid: int, policy: int, rt_priority: int) -> None: ...
    def set_nice(self, tid: int, nice: int) -> None: ...
    def set_ioprio(self, tid: int, ioprio: int) -> None: ...
    def cpu_time(self, tid: int) -> int: ...
    def voluntary_switches(self) -> int: ...
    def open_schedstat(self) -> int: ...
    def read_schedstat(self, file: int) -> bytes: ...
    def executable(self) -> str: ...
    def read_text(self, path: str) -> str: ...
    def write_text(self, path: str, text: str) -> None: ...
    def list_directory(self, path: str) -> list[str]: ...
    def read_stat(self, path: str) -> bytes: ...
    def connect(self, address: str, seconds: float) -> "Socket": ...
    def get_data_limit(self) -> tuple[int, int]: ...
    def set_data_limit(self, limits: tuple[int, int]) -> None: ...
    def get_stack_limit(self) -> int: ...
    def raise_at_exit(self, number: int) -> None: ...
    def set_signal(self, number: int, *, is_ignored: bool) -> None: ...
    def affinity(self) -> int: ...
    def page_size(self) -> int: ...
    def memory_pages(self) -> int: ...
    def clock_ticks(self) -> int: ...


if not TYPE_CHECKING or sys.platform == "linux":

    class _Syscalls:
        """Calls of the kernel that this process runs on."""

        def process_id(self) -> int:
            return os.getpid()

        def threads(self, pid: int) -> list[int]:
            return [int(tid) for tid in os.listdir(f"/proc/{pid}/task")]

        def exists(self, pid: int) -> bool:
            try:
                os.kill(pid, 0)
            except (ProcessLookupError, OverflowError):
                return False
            except PermissionError:
                return True
            return True

        def has_ended(self, tid: int) -> bool:
            """Return whether a listed thread has ended: a zombie's, or a main thread that ended before the others."""
            try:
                with open_file(f"/proc/{tid}/stat", encoding="ascii", errors="replace") as stat:
                    return _state(stat.read()) in "ZX"  # proc_pid_stat(5)
            except FileNotFoundError as error:
                raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH)) from error

        def is_ours(self, pid: int) -> bool:
            try:
                return os.geteuid() in (0, os.stat(f"/proc/{pid}").st_uid)
            except FileNotFoundError:  # the process has ended, or /proc is not mounted or hides it
                pass
            try:
                os.kill(pid, 0)
            except PermissionError:
                return False
            except ProcessLookupError:
                pass
            return True

        def nice_limit(self) -> int:
            import resource  # here, because it is needed only after or before a refused call

            soft, _ = resource.getrlimit(resource.RLIMIT_NICE)
            return -20 if soft == resource.RLIM_INFINITY else max(20 - soft, -20)

        def read(self, tid: int) -> Scheduling:
            return Scheduling(*self._policy(tid), os.getpriority(os.PRIO_PROCESS, tid), self._ioprio(tid))

        def read_cpu(self, tid: int) -> tuple[int, int]:
            """Return the policy, including the reset-on-fork flag, and the nice value."""
            return os.sched_getscheduler(tid), os.getpriority(os.PRIO_PROCESS, tid)

        def set_policy(self, tid: int, policy: int, rt_priority: int) -> None:
            os.sched_setscheduler(tid, policy, os.sched_param(rt_priority))

        def set_nice(self, tid: int, nice: int) -> None:
            os.setpriority(os.PRIO_PROCESS, tid, nice)

        def set_ioprio(self, tid: int, ioprio: int) -> None:
            _ioprio_calls().set(tid, ioprio)

        def cpu_time(self, tid: int) -> int:
            # The clock of pthread_getcpuclockid, which needs a handle that may be invalid: MAKE_THREAD_CPUCLOCK(tid,
            # CPUCLOCK_SCHED), linux/posix-timers_types.h.
            return time.clock_gettime_ns(~tid << 3 | 6)

        def voluntary_switches(self) -> int:
            import resource  # here, for processes that watch threads

            return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw

        def executable(self) -> str:
            return os.path.realpath("/proc/self/exe")

        def open_schedstat(self) -> int:
            return os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)

        def read_schedstat(self, file: int) -> bytes:
            # Not os.pread: it releases the GIL, and waiting for it again takes longer than all other work of a beat.
            import ctypes  # here, for processes that watch threads

            text = ctypes.create_string_buffer(100)
            size = _pread()(file, text, len(text), 0)
            return text.raw[: max(size, 0)]

        def read_text(self, path: str) -> str:
            with open_file(path, encoding="utf-8", errors="replace", newline="\n") as file:
                return file.read()

        def write_text(self, path: str, text: str) -> None:
            with open_file(path, "w", encoding="ascii") as file:
                file.write(text)

        def list_directory(self, path: str) -> list[str]:
            return os.listdir(path)

        def read_stat(self, path: str) -> bytes:
            """Return the first 4096 bytes of a file, as cheaply as possible."""
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                return os.read(file, 4096)
            finally:
                os.close(file)

        def connect(self, address: str, seconds: float) -> "Socket":
            from ..._sockets import connect  # here, for programs that watch for the user's input

            return connect(address, seconds)

        def get_data_limit(self) -> tuple[int, int]:
            import resource  # here, for processes with a memory limit

            return resource.getrlimit(resource.RLIMIT_DATA)

        def set_data_limit(self, limits: tuple[int, int]) -> None:
            import resource

            resource.setrlimit(resource.RLIMIT_DATA, limits)

        def get_stack_limit(self) -> int:
            import resource

            return resource.getrlimit(resource.RLIMIT_STACK)[0]

        def raise_at_exit(self, number: int) -> None:
            import ctypes  # here, for processes with a memory limit

            libc = ctypes.CDLL(None)
            at_exit = libc["__cxa_atexit"]  # void (*)(void *), its argument, handle of its library
            at_exit.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
            at_exit.restype = ctypes.c_int
            if at_exit(ctypes.cast(libc["raise"], ctypes.c_void_p), number, None):
                raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

        def set_signal(self, number: int, *, is_ignored: bool) -> None:
            signal.signal(number, signal.SIG_IGN if is_ignored else signal.SIG_DFL)

        def affinity(self) -> int:
            return len(os.sched_getaffinity(0))

        def page_size(self) -> int:
            return os.sysconf("SC_PAGE_SIZE")

        def memory_pages(self) -> int:
            return os.sysconf("SC_PHYS_PAGES")

        def clock_ticks(self) -> int:
            return os.sysconf("SC_CLK_TCK")

        def _policy(self, tid: int) -> tuple[int, int]:
            try:
                return os.sched_getscheduler(tid), os.sched_getparam(tid).sched_priority
            except OSError as error:
                if error.errno != errno.ENOSYS:
                    raise
                return Policy.SCHED_OTHER, 0  # musl's functions always fail

        def _ioprio(self, tid: int) -> int:
            try:
                return _ioprio_calls().get(tid)
            except ProcessLookupError:
                raise
            except OSError:  # not in this kernel, or forbidden: then no program has set one
                return IoClass.NONE

    @functools.cache
    def _pread() -> Callable[..., int]:
        """Return ``pread(2)`` as a function that keeps the GIL."""
        import ctypes

        pread = ctypes.PyDLL(None).pread
        pread.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_long)
        pread.restype = ctypes.c_ssize_t
        return pread

    def _state(stat: str) -> str:
        return stat.rpartition(")")[2].split(maxsplit=1)[0]

    system: System = _Syscalls()
else:
    system: System


_ioprio_calls: Final = functools.cache(IoprioCalls)
