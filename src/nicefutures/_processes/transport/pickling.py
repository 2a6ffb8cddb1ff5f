"""Pickles, and the large buffers that are not in them."""

import contextlib
import functools
import io
import itertools
import operator
import pickle
import sys
import types
from collections.abc import Callable, Iterable
from multiprocessing.reduction import ForkingPickler
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from ..naming import by_value
from ..once import Once
from .message import Message, Place

if TYPE_CHECKING:
    from ..._system.protocols import SharedMemory
    from .arrays import Copies
    from .keeping import Copy, Shared

_T = TypeVar("_T")

# Buffers start at multiples of this many bytes, as NumPy's own do.
_ALIGNMENT: Final = 64
# From so many bytes on a buffer gets a segment of its own, but no more of them than that.
_LEAST_ALONE: Final = 2**20
_MOST_ALONE: Final = 8
# What `pickle` raises for what it does not take.
_REFUSALS: Final = (pickle.PicklingError, AttributeError, TypeError)
# A pickle is written in frames of 64 KiB; what is larger is one object.
_LEAST_PART: Final = 2**17
# A call is a function, its arguments, and those with names.
_CALL: Final = 3
# These have no buffer; functions and classes are pickled by their names.
_ATOMS: Final = frozenset(
    {type(None), bool, int, float, complex, type, types.FunctionType, types.BuiltinFunctionType, Once}
)
# How much is looked at to find out that nothing can be shared: a call of `map` is (function, ((argument, ...),)).
_FEW: Final = 8
_DEPTH: Final = 4
_SHORT: Final = 2**14
_SHORT_ARRAY: Final = 2**12
# Bytes that are copied at once with the GIL held: a tenth of a millisecond.
_PIECE: Final = 2**20


def is_plain(obj: Any, depth: int = _DEPTH) -> bool:
    """Return whether an object is small and has no buffers; False as well if that takes time to find out."""
    kind = type(obj)
    if kind in _ATOMS:
        return True
    if kind is tuple or kind is list:
        return depth > 0 and len(obj) <= _FEW and _are_plain(obj, depth - 1)
    if kind is str or kind is bytes:
        return len(obj) < _SHORT
    if kind is functools.partial:
        return not obj.keywords and is_plain((obj.func, *obj.args), depth - 1)
    if kind is dict:  # keywords
        return len(obj) <= _FEW and all(type(key) is str for key in obj) and _are_plain(obj.values(), depth - 1)
    return _is_small_array(kind, obj)


def _is_small_array(kind: type, obj: Any) -> bool:
    """Return whether an object is an array of numbers that is small, or a number, of NumPy's."""
    numpy = sys.modules.get("numpy")
    ndarray = getattr(numpy, "ndarray", None)  # None as well while another thread imports NumPy
    if ndarray is None:
        return False
    if kind is ndarray:
        return obj.nbytes < _SHORT_ARRAY and not obj.dtype.hasobject and kind not in _extra_reducers
    return kind.__module__ == "numpy" and issubclass(kind, numpy.generic) and not obj.dtype.hasobject  # type: ignore[union-attr]


def _are_plain(objects: Iterable[Any], depth: int) -> bool:
    for each in objects:  # noqa: SIM110, a generator costs more than all the rest
        if type(each) not in _ATOMS and not is_plain(each, depth):
            return False
    return True


# Private, and there from Python 3.11 to 3.15: what is registered with multiprocessing.
_extra_reducers: Final[Any] = ForkingPickler._extra_reducers  # type: ignore[attr-defined]  # noqa: SLF001


def _registered() -> Any:
    """Return the reducers that are registered by now, with `copyreg` and with multiprocessing, which makes a copy."""
    return ForkingPickler(io.BytesIO()).dispatch_table


class Pickler(pickle.Pickler):
    """What multiprocessing pickles with, and out-of-band buffers."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.dispatch_table = _registered()


class _ArrayPickler(Pickler):
    """The same where there is NumPy."""

    pickled: "Pickled"

    def reducer_override(self, obj: Any) -> Any:
        return self.pickled.reduce(obj, self.dispatch_table)


def _value_pickler(file: Any, callback: Any = None, pickled: "Pickled | None" = None) -> pickle.Pickler:
    """Return a pickler for what cannot be found by its name."""
    from .. import by_value  # for who needs cloudpickle

    reduce = None if pickled is None or pickled.ndarray is None else pickled.reduce
    return by_value.Pickler(file, callback, _registered(), reduce)


def _travelling(obj: Any, dump: Callable[[bool], _T], mentions: Callable[[_T, bytes], bool]) -> _T:
    """Pickle something: by name, and by value what cannot be found by its name.

    Parameters
    ----------
    obj : Any
        What to pickle.
    dump : callable
        Does it; called with whether by value.
    mentions : callable
        Whether there is a module's name in a pickle.
    """
    try:
        pickled = dump(False)
    except _REFUSALS as error:
        with contextlib.suppress(ImportError):
            return _by_value(obj, lambda: dump(True), error)
        raise  # here is no cloudpickle
    names = by_value()
    if names and any(mentions(pickled, name) for name in names):
        with contextlib.suppress(ImportError):
            return _by_value(obj, lambda: dump(True))
    return pickled


def _by_value(obj: Any, dump: Callable[[], _T], refusal: Exception | None = None) -> _T:
    try:
        return dump()
    except _REFUSALS as reason:
        error = refusal if refusal is not None and type(refusal) is type(reason) else reason
        if type(error) in _REFUSALS and (name := _name_argument(obj)):
            error = type(error)(f"{error} ({name})")
        raise error from None


def _name_argument(call: Any) -> str:
    """Return what it is that cannot be pickled, if that can be said: an argument, or what the function uses."""
    if type(call) is not tuple or len(call) != _CALL:
        return ""
    fn, args, kwargs = call
    while args and getattr(fn, "__module__", "").startswith("nicefutures."):  # what runs the user's
        fn, args = args[0], args[1:]
    parts = {f"argument {name!r}": each for name, each in (*enumerate(args), *kwargs.items())}
    if type(fn) is types.FunctionType:
        whose = f"of function {fn.__qualname__}"
        for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True):
            with contextlib.suppress(ValueError):  # it is empty
                parts[f"variable {name!r} {whose}"] = cell.cell_contents
        for name in fn.__code__.co_names:
            if name in fn.__globals__:
                parts[f"global {name!r} {whose}"] = fn.__globals__[name]
    return next((name for name, part in parts.items() if not _travels(part)), "")


def _travels(part: Any) -> bool:
    try:
        _value_pickler(io.BytesIO(), lambda _: None).dump(part)
    except Exception:  # noqa: BLE001, whatever pickling it runs
        return False
    return True


class _Pieces:
    """A bytearray's content, copied piece by piece: the GIL is not held for long, and the owner may resize it after."""

    def __init__(self, content: bytearray) -> None:
        self.pieces = [content[start : start + _PIECE] for start in range(0, len(content), _PIECE)]
        self._size = sum(map(len, self.pieces))

    def __len__(self) -> int:
        return self._size


class _File:
    """What a pickler writes to. What is large it writes as the object that it is: bytes without a copy."""

    def __init__(self, parts: list[Any]) -> None:
        self._parts = parts

    def write(self, part: Any) -> None:
        if isinstance(part, bytearray):
            part = _Pieces(part)
            # Its size was written before (BYTEARRAY8, pickletools), and other threads may have changed it since then.
            self._parts[-1] = self._parts[-1][:-8] + len(part).to_bytes(8, "little")
        self._parts.append(part if isinstance(part, bytes | _Pieces) else pickle.PickleBuffer(part).raw())


class Large(NamedTuple):
    """A large buffer: whose it is, what is in it, and where that is already."""

    owner: Any
    content: memoryview
    copy: "Copy | None"


class Pickled:
    """A pickle and its large buffers, in this process's memory.

    Parameters
    ----------
    obj : Any
        What to pickle.
    limit : int
        From so many bytes on a buffer is out of band.
    find : callable
        Returns the copy that there is of an object's buffer, if the task may have it.
    by_value : bool
        Whether functions and classes are in it that cannot be found by their names.
    """

    def __init__(self, obj: Any, limit: int, find: "Callable[[Any], Copy | None]", *, by_value: bool) -> None:
        self.parts: list[Any] = []
        self.large: list[Large] = []
        self.limit = limit
        # None as well while another thread imports NumPy.
        self.ndarray: Any = getattr(sys.modules.get("numpy"), "ndarray", None)
        self._find = find
        self._known: dict[int, Copy] = {}
        self._copies: Copies | None = None
        try:
            self._dump(obj, by_value)
        finally:
            self._copies = None  # a cycle: what is large shall go without the garbage collector

    def _dump(self, obj: Any, by_value: bool) -> None:
        file = _File(self.parts)
        if by_value:
            _value_pickler(file, self._keep, self).dump(obj)
            return
        if self.ndarray is None:
            Pickler(file, pickle.HIGHEST_PROTOCOL, buffer_callback=self._keep).dump(obj)
            return
        pickler = _ArrayPickler(file, pickle.HIGHEST_PROTOCOL, buffer_callback=self._keep)
        pickler.pickled = self
        pickler.dump(obj)

    def reduce(self, obj: Any, registered: Any) -> Any:
        """Return how a large array goes, or NotImplemented: another object."""
        # Not isinstance, which would ask proxies what they stand for.
        if not issubclass(type(obj), self.ndarray) or obj.nbytes < self.limit or type(obj) in registered:
            return NotImplemented
        from .arrays import reduce_array

        return reduce_array(obj, self.copies())

    def mentions(self, name: bytes) -> bool:
        """Return whether there is a module's name in it."""
        return any(name in part for part in self.parts if isinstance(part, bytes) and len(part) < _LEAST_PART)

    def copies(self) -> "Copies":
        """Return the copies of arrays that are sent in their place."""
        from .arrays import Copies

        if self._copies is None:
            self._copies = Copies(self._is_known)
        return self._copies

    def small(self) -> bytes | None:
        """Return the pickle, if there is nothing to share."""
        if self.large or any(map(self._is_large, self.parts)):
            return None
        return self.parts[0] if len(self.parts) == 1 else _join(self.parts)

    def _is_large(self, part: Any) -> bool:
        return len(part) >= _LEAST_PART and len(part) >= self.limit

    def _is_known(self, owner: Any) -> bool:
        copy = self._find(owner)
        if copy is not None:
            self._known[id(owner)] = copy
        return copy is not None

    def _keep(self, buffer: pickle.PickleBuffer) -> bool:
        """Return whether a buffer shall be in the pickle."""
        content = buffer.raw()
        if content.nbytes < self.limit and self._copies is None:
            return True
        exporter = memoryview(buffer).obj
        owner = exporter if self._copies is None else self._copies.original(exporter)
        if content.nbytes < self.limit and owner is exporter:
            return True
        if id(owner) not in self._known:
            self._is_known(owner)
        copy = self._known.get(id(owner))
        if copy is not None and owner is exporter and copy.stop - copy.start != content.nbytes:
            copy = None  # a part of it
        self.large.append(Large(owner, content, copy))
        return False

    def share(self, memory: "SharedMemory") -> "tuple[Message, list[Shared]]":
        """Copy to new segments what is large and not yet in one.

        What is very large gets a segment of its own, so that whoever keeps a part of what is sent does not keep all.

        Returns
        -------
        message : Message
            Without the segments' addresses.
        shared : list of Shared
            All that it needs, the new ones first.
        """
        layout = _Layout()
        parts: list[bytes | Place] = []
        for is_large, run in itertools.groupby(self.parts, self._is_large):
            if is_large:
                parts += [layout.place(_pieces_of(part)) for part in run]
            else:
                parts.append(_join(run))
        places = [layout.find(large) for large in self.large]
        shared = layout.write(memory)
        return Message(list(map(layout.numbered, parts)), list(map(layout.numbered, places)), []), shared


class _Layout:
    """What goes where: the places of a message, in segments that there are and in new ones."""

    def __init__(self) -> None:
        # What is copied to each new segment, and up to where; the first is for whatever has none of its own.
        self._copied: list[list[tuple[int, memoryview]]] = [[]]
        self._ends = [0]
        self._known: list[Any] = []

    def place(self, pieces: Iterable[Any], segment: int = 0) -> Place:
        """Find a place for a content."""
        start = stop = self._ends[segment]
        for piece in pieces:
            content = memoryview(piece)
            self._copied[segment].append((stop, content))
            stop += content.nbytes
        self._ends[segment] = -(-stop // _ALIGNMENT) * _ALIGNMENT
        return Place(segment, start, stop)

    def find(self, large: Large) -> Place:
        """Find a place for a large buffer, or the one that it has."""
        copy = large.copy
        if copy is not None:
            if copy.shared not in self._known:
                self._known.append(copy.shared)
            return Place(-1 - self._known.index(copy.shared), copy.start, copy.stop)
        if large.content.nbytes < _LEAST_ALONE or len(self._copied) > _MOST_ALONE:
            return self.place([large.content])
        self._copied.append([])
        self._ends.append(0)
        return self.place([large.content], len(self._copied) - 1)

    def write(self, memory: "SharedMemory") -> "list[Shared]":
        """Make the new segments; return all."""
        from .keeping import Shared  # for who has something large

        shared = []
        for copied, end in zip(self._copied, self._ends, strict=True):
            if copied:
                segment = memory.create(end)
                for start, content in copied:
                    segment.write(content, start)
                shared.append(Shared(segment, end))
        return [*shared, *self._known]

    def numbered(self, part: Any) -> Any:
        """Return a place with the number of its segment among all."""
        if not isinstance(part, Place):
            return part
        unused = 0 if self._copied[0] else 1
        new = len(self._copied) - unused
        return part._replace(segment=part.segment - unused if part.segment >= 0 else new - 1 - part.segment)


def _pieces_of(part: bytes | memoryview | _Pieces) -> Iterable[Any]:
    return part.pieces if isinstance(part, _Pieces) else [part]


def _join(parts: Iterable[bytes | memoryview | _Pieces]) -> bytes:
    return b"".join(itertools.chain.from_iterable(map(_pieces_of, parts)))


def pickle_buffers(obj: Any, limit: int, find: "Callable[[Any], Copy | None]") -> Pickled:
    """Return a pickle and its large buffers; the arguments are those of `Pickled`."""
    return _travelling(obj, lambda by_value: Pickled(obj, limit, find, by_value=by_value), Pickled.mentions)


def pickle_plain(obj: Any) -> bytes | None:
    """Return a pickle of what is small and has no buffers; None if that is not so, or if something has no name."""
    if not is_plain(obj):
        return None
    try:
        pickled = pickle.dumps(obj, pickle.HIGHEST_PROTOCOL)
    except _REFUSALS:
        return None
    names = by_value()
    return None if names and any(name in pickled for name in names) else pickled


def pickle_alone(obj: Any) -> bytes:
    """Return a pickle as the stdlib's executor sends it, where nothing is shared."""
    plain = pickle_plain(obj)
    if plain is not None:
        return plain
    return _travelling(obj, lambda by_value: _dump_alone(obj, by_value), operator.contains)


def _dump_alone(obj: Any, by_value: bool) -> bytes:
    file = io.BytesIO()
    pickler: Any = _value_pickler(file) if by_value else ForkingPickler(file)
    pickler.dump(obj)
    return file.getvalue()


def pickle_whole(obj: Any) -> bytes:
    """Return a pickle with everything in it."""
    plain = pickle_plain(obj)
    if plain is not None:
        return plain
    return _travelling(obj, lambda by_value: _dump_whole(obj, by_value), operator.contains)


def _dump_whole(obj: Any, by_value: bool) -> bytes:
    parts: list[Any] = []
    file = _File(parts)
    (_value_pickler(file) if by_value else Pickler(file, pickle.HIGHEST_PROTOCOL)).dump(obj)
    return _join(parts)


def find_nothing(owner: Any) -> None:  # noqa: ARG001, a worker has sent nothing before
    return None
