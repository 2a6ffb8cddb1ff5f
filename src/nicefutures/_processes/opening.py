"""Open a pool: check the arguments of its executor, and create the objects that it needs."""

import logging
import math
from collections.abc import Iterable
from multiprocessing.context import BaseContext
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from .._arguments import (
    Condition,
    check_flag,
    check_idle_after,
    check_max_tasks,
    check_max_workers,
    check_on_crash,
    check_task_timeout,
    parse_blas_threads,
    parse_context,
    parse_low_priority,
    parse_memory_limit,
    parse_pause_when,
    parse_share_min_size,
)
from .._failure import WarnOnce, ignore, refuse
from .._levels import OnDenied, ProcessPriority, parse_on_denied
from .._system import backend
from .._system.common import Group
from .attempt import OnCrash
from .handle import Start
from .main_module import can_import_main, describe_main
from .packing import Packing
from .pool import Plan, Pool
from .transport.keeping import Keeping
from .transport.parent import Transport
from .worker_main import Demands, OnStart, import_before_fork

if TYPE_CHECKING:
    from .._system.protocols import Keeper


class Settings(NamedTuple):
    """Checked arguments of an executor; see `LowPriorityProcessPoolExecutor` and `Plan`."""

    context: Any
    max_workers: int
    max_tasks: int | None
    demands: Demands
    on_shortfall: Any
    on_start: OnStart
    on_crash: OnCrash
    task_timeout: float | None
    share_min_size: int | None
    forwards_logs: bool
    conditions: tuple[Condition, ...]
    idle_after: float

    @property
    def tells_calls(self) -> bool:
        """Whether a worker reports each call of a chunk separately."""
        return self.on_crash != "break" or self.task_timeout is not None or self.demands.memory_limit is not None


def check_settings(
    *,
    max_workers: int | None,
    mp_context: BaseContext | str | None,
    on_start: OnStart,
    max_tasks: int | None,
    priority: ProcessPriority | str,
    on_denied: OnDenied,
    isolate: bool,
    efficiency: bool,
    blas_threads: int | Literal["auto"] | None,
    memory_limit: float | str | None,
    task_timeout: float | None,
    share_min_size: int | str | None,
    on_crash: OnCrash,
    forward_logs: bool,
    pause_when: Iterable[Condition],
    idle_after: float,
) -> Settings:
    """Return the checked arguments of an executor; raise for a value that is not allowed."""
    level = parse_low_priority(priority)
    parse_on_denied(on_denied)
    max_workers = check_max_workers(max_workers)
    if mp_context is None and max_tasks is not None:
        mp_context = "spawn"  # as in the standard library
    replaces = task_timeout is not None or on_crash != "break"
    context: BaseContext = parse_context(mp_context, replaces=replaces)
    check_max_tasks(max_tasks, context)
    workers = math.ceil(backend.accounting.usable_cpus()) if max_workers is None else max_workers
    cap = parse_blas_threads(blas_threads, workers)
    limit = parse_memory_limit(memory_limit)
    check_flag("efficiency", efficiency)
    check_flag("isolate", isolate)
    check_flag("forward_logs", forward_logs)
    check_on_crash(on_crash)
    forked = context.get_start_method() == "fork"
    if forked:
        import_before_fork(cap)
    group = backend.groups.find() if isolate else None
    return Settings(
        context,
        workers,
        max_tasks,
        Demands(level, cap, limit, forked, efficiency, group, registry=None, transport=None),
        {"warn": None, "raise": refuse, "ignore": ignore}[on_denied],
        on_start,
        on_crash,
        check_task_timeout(task_timeout),
        parse_share_min_size(share_min_size),
        forward_logs,
        parse_pause_when(pause_when),
        check_idle_after(idle_after),
    )


def open_pool(settings: Settings, keeping: Keeping, warn: WarnOnce) -> Pool:
    """Return a pool without workers."""
    context, demands = settings.context, settings.demands
    method = context.get_start_method()
    is_known = can_import_main(method)
    tells_start = settings.task_timeout is not None or settings.on_crash == "retry"
    log_level = logging.getLogger().level if settings.forwards_logs else None
    demands = demands._replace(tells_start=tells_start, is_main_known=is_known, log_level=log_level)
    keeper: Keeper | None = None
    if isinstance(demands.group, Group):
        keeper = backend.groups.open_keeper(context, demands.group)
        keeper.start()
        demands = demands._replace(registry=keeper.registry)
    transport: Transport | None = None
    if settings.share_min_size is not None:
        memory = backend.sharing.find_shared_memory()
        if memory is not None:
            transport = Transport(memory, settings.share_min_size, keeping)
            demands = demands._replace(transport=transport.worker_end)
    main = describe_main(method, is_known=is_known)
    plan = Plan(
        Start(context, demands, settings.on_shortfall, settings.on_start, main),
        settings.max_workers,
        settings.max_tasks,
        Packing(transport, keeping, is_main_known=is_known),
        warn,
        settings.on_crash,
        settings.task_timeout,
        keeping.clear,
        [each.close for each in (keeper, transport) if each is not None],
    )
    pool = Pool(plan)
    if settings.conditions:
        from .._watch import watch  # only imported if conditions are given

        pool.pausing.watch = watch(pool.pausing, settings.conditions, settings.idle_after, warn.warn_of)
    return pool
