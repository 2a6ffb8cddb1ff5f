"""Pickle the tasks of a pool, and unpickle the answers, in the parent."""

import contextlib
import functools
import sys
import threading
from types import FunctionType
from typing import Any, Final

from .._blas import find_fork_hazard
from .._failure import WarnOnce
from . import naming
from .chunk import run_chunk
from .once import Once
from .tokens import token_of
from .transport.keeping import Keeping, Needs
from .transport.message import Message, Orphans, Question, loads
from .transport.parent import Packed, Transport
from .transport.pickling import are_independent, is_frozen, is_frozen_function, pickle_plain, pickle_whole
from .worker_main import OnStart, run_task

# Size in bytes above which a function goes to each worker once.
_LEAST_ONCE: Final = 1024
# Number of shared segments in a chunk: each of them is an open file of this process.
_MOST_SEGMENTS: Final = 4


class Packing:
    """The pickling and unpickling of one pool; `is_main_known` if its workers have the main module of this process."""

    def __init__(self, transport: Transport | None, keeping: Keeping, *, is_main_known: bool) -> None:
        self._transport = transport
        self._keeping = keeping  # the executor's
        self.names = naming.Names(sys.modules[naming.MAIN] if is_main_known else None)
        # Except for plain data, only one thread at a time pickles, and one unpickles, as in the stdlib: the user's
        # objects need not support more. These locks protect nothing else.
        self.pickling, self._unpickling = threading.RLock(), threading.RLock()

    def announce(self, on_start: OnStart, warn: WarnOnce) -> None:
        """Give tokens to objects that forked workers inherit, so that they come back as the same; warn of hazards."""
        if (hazard := find_fork_hazard()) is not None:
            warn.warn(RuntimeWarning(hazard))
        with self.entered():
            on_start.announce()
            if self.names.lacks(naming.MAIN):
                for _, each in naming.defined_in(sys.modules[naming.MAIN]):
                    token_of(each)

    def entered(self) -> contextlib.AbstractContextManager[None]:
        """Let the calling thread pickle for these workers in a block."""
        return naming.pickling(self.names)

    def enter(self) -> None:
        """Let the calling thread, a thread of the pool, pickle for these workers from now on."""
        naming.here.names = self.names

    def pack(self, call: Any, number: int) -> Packed:
        """Return a task as it is sent, in a thread of the pool; its number comes from `keeping`."""
        here = naming.here
        try:
            is_chunk = call[0] is run_chunk
            packed = self._pack_chunk(call, number) if is_chunk else self._pack_part(call, number, is_call=True)
        except BaseException:
            here.sent = []
            raise
        if here.sent:
            packed, here.sent = packed._replace(sent=here.sent), []
        return packed

    def _pack_part(self, part: Any, number: int, *, is_call: bool = False) -> Packed:
        plain = pickle_plain(part)
        if plain is not None:
            return Packed(plain)
        with self.pickling:
            return self._pack(self._with_function_once(part, number) if is_call else part, number)

    def _pack_chunk(self, call: Any, number: int) -> Packed:
        """Return a chunk as it is sent, perhaps without its last calls.

        If the user has chosen its size, it is one pickle, as in the stdlib. Otherwise each call has pickles of its own,
        and calls share only objects that cannot change.
        """
        _, (function, calls), options = call
        if not options["hands_back"]:
            return self._pack_part(call, number)
        needs = Needs()

        def pack(part: Any) -> bytes:
            packed = self._pack_part(part, number)
            if packed.needs is not None:
                needs.join(packed.needs)
            return packed.data

        own = function
        if not is_frozen_function(function):
            own = pack(function) if all(map(are_independent, calls)) else None
        parts: list[Any] = []
        for each in calls:
            is_shared = own is not None and is_frozen(each)
            parts.append(each if is_shared else pack((function, each) if own is None else each))
            if len(needs.shared) >= _MOST_SEGMENTS:
                break
        return Packed(pack((run_chunk, (own, parts), options)), needs, calls=len(parts))

    def _pack(self, call: Any, number: int) -> Packed:
        return Packed(pickle_whole(call)) if self._transport is None else self._transport.pack(call, number)

    def _with_function_once(self, call: Any, number: int) -> Any:
        """Return a call whose function, if workers cannot find it by name, is pickled once for all pending tasks."""
        fn, args, kwargs = call
        if fn is run_task:
            fn, args, kwargs = self._with_function_once((args[0], args[1:], kwargs), number)
            return run_task, (fn, *args), kwargs
        if type(fn) is not FunctionType or self.names.has(fn):
            return call
        once = self._keeping.find(fn, number)
        if once is None:
            # The objects that the function refers to may change from here on, so later tasks need another pickle.
            latest = self._keeping.latest
            once = self.once(fn, number)
            if type(once) is not Once:
                return call
            self._keeping.keep(fn, latest, once)
        return once, args, kwargs

    def once(self, function: Any, number: int) -> Any:
        """Return a `Once` for a function that goes to each worker once, or the function itself if it is small."""
        with (
            contextlib.suppress(Exception),  # the tasks will get this error
            self.entered(),
            self.pickling,
        ):
            if pickle_plain(function) is None:
                packed = self._pack((function,), number)
                if len(packed.data) > _LEAST_ONCE or packed.needs is not None or naming.here.sent:
                    packed = packed._replace(sent=naming.here.sent or ())
                    return Once(function, packed.data, packed)
        return function

    def learn(self, error: BaseException, version: int) -> bool:
        """Note a name that a worker has not found, as `Names.learn`."""
        if not self.names.learn(error, version):
            return False
        self._keeping.clear()  # kept functions refer to names that workers do not find
        return True

    def load(self, data: bytes) -> Any:
        """Unpickle the message of a worker, which may run the user's code."""
        with self._unpickling:
            answer = loads(data)
            if type(answer) is Message and self._transport is not None:
                return self._transport.take(answer)
            return answer

    def take_note(self, note: Question | Orphans) -> None:
        """Answer a worker's question about a segment, or close segments that it has sent in vain."""
        if self._transport is not None:
            self._transport.take_note(note)


class MapFunction:
    """The function of a map. If its pickle is large, it goes to each worker once.

    It goes with each call if it is no plain function, and an argument may be a part of its object. The first thread
    that needs the function pickles it, and not the caller of ``map``.
    """

    def __init__(self, function: Any, *, wrapped: bool) -> None:
        self._function = function
        self._wrapped = wrapped  # workers make the calls with `run_task`
        self._sent: Any = None
        self._is_frozen = False

    def get(self, packing: Packing, number: int, calls: list[tuple[Any, ...]]) -> Any:
        """Return the function that workers call with these arguments."""
        if self._sent is None:
            with packing.pickling:
                if self._sent is None:
                    function = self._function
                    if type(function) is functools.partial and type(function.func) is FunctionType:
                        inner = packing.once(function.func, number)
                        function = functools.partial(inner, *function.args, **function.keywords)
                    self._function, sent = self._wrap(function), self._wrap(packing.once(function, number))
                    self._is_frozen = is_frozen_function(sent)
                    self._sent = sent
        return self._sent if self._is_frozen or all(map(are_independent, calls)) else self._function

    def _wrap(self, function: Any) -> Any:
        return functools.partial(run_task, function) if self._wrapped else function
