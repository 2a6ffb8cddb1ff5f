"""Pickles objects, and keeps large buffers out of the pickles."""

import contextlib
import copyreg
import functools
import itertools
import pickle
import sys
import types
from collections.abc import Callable, Iterable
from multiprocessing.reduction import ForkingPickler
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ..naming import here
from ..once import FUNCTIONS, Once, is_ours
from .message import Message, Place

if TYPE_CHECKING:
    from ..._system.protocols import SharedMemory
    from .keeping import Copy, Shared

# Buffers start at multiples of this many bytes, as NumPy's own do.
_ALIGNMENT: Final = 64
# Smallest size in bytes of a buffer that gets a segment of its own, and the number of such segments at most.
_LEAST_ALONE: Final = 2**20
_MOST_ALONE: Final = 8
# Errors that `pickle` raises for an object that it cannot pickle.
_REFUSALS: Final = (pickle.PicklingError, AttributeError, TypeError)
# A pickle is written in frames of 64 KiB; a larger part is one object.
_LEAST_PART: Final = 2**17
# The opcode that a pickle has at least once for each function and class (STACK_GLOBAL, pickletools).
_BY_NAME: Final = b"\x93"
# Items of a call: a function, its arguments, and its keyword arguments.
_CALL: Final = 3
# These have no buffer; functions and classes are pickled by their names.
_ATOMS: Final = frozenset({type(None), bool, int, float, complex, type, types.FunctionType, Once})
# Objects in which nothing can change.
_FROZEN: Final = (_ATOMS | {str, bytes} | FUNCTIONS) - {Once}
# Limits of the search for something to share: items, depth, length. A call of `map`: (function, ((argument, ...),)).
_FEW: Final = 8
_DEPTH: Final = 4
_SHORT: Final = 2**14
# Bytes that are copied in one step with the GIL held: a tenth of a millisecond.
_PIECE: Final = 2**20
# A pickler that has written more bytes is not used again: its memo takes long to clear.
_MOST_AGAIN: Final = 2**16
# The protocol of multiprocessing, without buffers of arrays.
_STDLIB_PROTOCOL: Final = 4
# Characters of NumPy's number types, and of those whose scalars convert exactly to a number of Python.
_NUMBERS: Final = "?bBhHiIlLqQefdgFDG"
_SCALARS: Final = "?bBhHiIlLqQdD"
# The reducers registered with multiprocessing; the private name exists from Python 3.11 to 3.15.
_extra_reducers: Final[Any] = ForkingPickler._extra_reducers  # type: ignore[attr-defined]  # noqa: SLF001


def is_plain(obj: Any, depth: int = _DEPTH) -> int:  # noqa: PLR0911, it is called for each object
    """Return 2 for a small object without buffers, 1 if it contains objects of NumPy.

    0 for all other objects, and for those that take long to check.
    """
    kind = type(obj)
    if kind in _ATOMS or (kind is types.BuiltinFunctionType and type(obj.__self__) is ModuleType):  # no method
        return 2
    if kind is tuple or kind is list:
        return _are_plain(obj, depth - 1) if depth > 0 and len(obj) <= _FEW else 0
    if kind is str or kind is bytes:
        return 2 * (len(obj) < _SHORT)
    if kind is functools.partial:
        return 0 if obj.keywords or obj.__reduce__()[2][3] else is_plain((obj.func, *obj.args), depth - 1)
    if kind is dict:  # keywords
        # In one step, because another thread may fill it.
        is_short = len(obj) <= _FEW and set(map(type, obj)) <= {str}
        return _are_plain([*obj.values()], depth - 1) if is_short else 0
    numpy: Any = sys.modules.get("numpy")
    ndarray = getattr(numpy, "ndarray", None)  # None as well while another thread imports NumPy
    if kind is ndarray:
        return obj.nbytes < _SHORT and not obj.dtype.hasobject and kind not in _extra_reducers
    return (
        ndarray is not None
        and kind.__module__ == "numpy"
        and issubclass(kind, numpy.generic)
        and not obj.dtype.hasobject
    )


def _are_plain(objects: Iterable[Any], depth: int) -> int:
    least = 2
    for each in objects:
        if type(each) not in _ATOMS and (plain := is_plain(each, depth)) < least:
            if not plain:
                return 0
            least = plain
    return least


def is_frozen(obj: Any, depth: int = _DEPTH) -> bool:
    """Return whether nothing in an object can change; False as well for objects that take long to check."""
    kind = type(obj)
    if kind in _FROZEN:
        return True
    if kind is tuple:
        is_short = depth > 0 and len(obj) <= _FEW
        return {*map(type, obj)} <= _FROZEN or (is_short and all(is_frozen(each, depth - 1) for each in obj))
    if kind is types.BuiltinFunctionType:
        return type(obj.__self__) is ModuleType
    return is_scalar(kind)


def is_frozen_function(function: Any) -> bool:
    """Return whether nothing can change in a function, or in a `partial` of it."""
    if type(function) is Once:
        return is_frozen_function(function.function)
    if type(function) is not functools.partial:
        return is_frozen(function)
    return not (function.keywords or vars(function)) and is_frozen(function.args) and is_frozen_function(function.func)


def are_independent(arguments: tuple[Any, ...]) -> bool:
    """Return whether the arguments have no object that the function may have, too; arrays of numbers do not count."""
    ndarray: Any = getattr(sys.modules.get("numpy"), "ndarray", None)
    return all((type(each) is ndarray and not each.dtype.hasobject) or is_frozen(each) for each in arguments)


def is_scalar(kind: Any) -> bool:
    """Return whether a class is one of NumPy's numbers."""
    numpy: Any = sys.modules.get("numpy") if kind.__module__ == "numpy" else None
    return numpy is not None and issubclass(kind, (numpy.number, numpy.bool_))


def find_nothing(owner: Any) -> None:  # noqa: ARG001, a worker has sent nothing before
    return None


class _Pickler:
    """Pickles one object after the other, because a pickler takes longer to make than a small pickle.

    Pickling by name runs in C, except for reducers and methods of objects. So the GIL is held while a dict is pickled
    that another thread may change, as in the stdlib.
    """

    def __init__(self, *, is_whole: bool = False) -> None:
        self.limit = sys.maxsize  # smallest size in bytes of a large buffer
        self.find: Callable[[Any], Copy | None] = find_nothing  # finds an existing copy of an object's buffer
        # By the id of the object that is sent in place of an array: the array, and its existing copy.
        self.originals: dict[int, tuple[Any, Any]] = {}
        self._parts: list[Any] = []
        self._buffers: list[pickle.PickleBuffer] = []
        self._file: Any = SimpleNamespace(write=self._parts.append)
        self._callback = None if is_whole else self._buffers.append
        self._by_name = pickle.Pickler(self._file, pickle.HIGHEST_PROTOCOL, buffer_callback=self._callback)
        self._registered: Any = None
        self._ndarray: Any = None

    def dump(self, obj: Any, *, by_value: bool = False) -> tuple[list[Any], list[pickle.PickleBuffer]]:
        """Return a pickle as a list of frames and large objects, and the buffers that are not in it."""
        self._look_at_reducers()
        try:
            return self._dump(obj, by_value=by_value)
        except RuntimeError:
            # Another thread has changed a dict while a reducer of ours ran. Without our reducers, this cannot happen.
            if self._ndarray is None:
                raise
            self._registered = None
            self._by_name.dispatch_table = {**copyreg.dispatch_table, **_extra_reducers}
            return self._dump(obj, by_value=by_value)

    def _dump(self, obj: Any, *, by_value: bool) -> tuple[list[Any], list[pickle.PickleBuffer]]:
        pickler: Any = self._by_name
        if by_value:
            from .. import by_value as other  # it imports cloudpickle

            pickler = other.Pickler(self._file, self._callback, pickler.dispatch_table)
        self.originals = {}
        try:
            pickler.dump(obj)
            return self._parts.copy(), self._buffers.copy()
        finally:
            pickler.clear_memo()
            self._parts.clear()
            self._buffers.clear()

    def _look_at_reducers(self) -> None:
        """Use the reducers that are registered by now, and ours of NumPy's classes."""
        numpy: Any = sys.modules.get("numpy")
        ndarray = getattr(numpy, "ndarray", None)
        registered = copyreg.dispatch_table, _extra_reducers, ndarray and type.__subclasses__(ndarray)
        if registered == self._registered:
            return
        self._registered = dict(registered[0]), dict(registered[1]), registered[2]
        self._ndarray = ndarray
        ours: dict[Any, Any] = {}
        if ndarray is not None:
            ours = {numpy.dtype(char).type: _reduce_number for char in _SCALARS}
            ours.update(dict.fromkeys(_family(ndarray), self._reduce))
        self._by_name.dispatch_table = {**ours, **copyreg.dispatch_table, **_extra_reducers}

    def _reduce(self, array: Any) -> Any:
        """Return the reduction of an array."""
        size = array.nbytes
        if size >= self.limit:
            from .arrays import reduce_array

            reduced = reduce_array(array, self.find, self.originals)
            if reduced is not NotImplemented:
                return reduced
        elif size < _SHORT and type(array) is self._ndarray:
            flags, dtype = array.flags, array.dtype
            if flags.c_contiguous and dtype.char in _NUMBERS and dtype.isnative and dtype.metadata is None:
                # Like NumPy's own pickle, but without the details that a dtype can have.
                return self._ndarray, (array.shape, dtype.char, bytearray(array.tobytes()))
        if not array.flags.writeable:
            return array.__reduce_ex__(_STDLIB_PROTOCOL)  # it arrives writable, as in the stdlib
        return array.__reduce_ex__(pickle.HIGHEST_PROTOCOL)


def _family(kind: Any) -> list[Any]:
    """Return a class and all that inherit from it."""
    family = [kind]
    for each in family:
        family += type.__subclasses__(each)  # the loop goes on with these
    return family


def _reduce_number(number: Any) -> Any:
    return type(number), (number.item(),)


# Picklers that are free: with out-of-band buffers, and with everything in the pickle.
_picklers: Final[tuple[list[_Pickler], list[_Pickler]]] = [], []


def _take_pickler(*, is_whole: bool = False) -> _Pickler:
    try:
        return _picklers[is_whole].pop()
    except IndexError:
        return _Pickler(is_whole=is_whole)


def _pickle(obj: Any, pickler: _Pickler) -> tuple[list[Any], list[pickle.PickleBuffer]]:
    """Pickle an object by name, and by value the functions and classes that workers do not find by name."""
    try:
        parts, buffers = pickler.dump(obj)
    except _REFUSALS as refusal:
        return _pickle_by_value(obj, pickler, refusal)
    if here.names.are_missing(parts[0].__contains__ if len(parts) == 1 else functools.partial(_mention, parts)):
        return _pickle_by_value(obj, pickler)
    return parts, buffers


def _pickle_by_value(
    obj: Any, pickler: _Pickler, refusal: Exception | None = None
) -> tuple[list[Any], list[pickle.PickleBuffer]]:
    try:
        return pickler.dump(obj, by_value=True)
    except _REFUSALS as reason:
        error = refusal if refusal is not None and type(refusal) is type(reason) else reason
        if type(error) in _REFUSALS and (name := _name_argument(obj)):
            error = type(error)(f"{error} ({name})")
        raise error from None


def _mention(parts: list[Any], name: bytes) -> bool:
    """Return whether a pickle contains the name of a module."""
    return any(type(part) is bytes and len(part) < _LEAST_PART and name in part for part in parts)


def _name_argument(call: Any) -> str:
    """Return which argument, or which variable of the function, cannot be pickled; empty if that is not known."""
    if type(call) is not tuple or len(call) != _CALL:
        return ""
    fn, args, kwargs = call
    if type(args) is not tuple or type(kwargs) is not dict:  # a result
        return ""
    while args and is_ours(fn):  # it runs the user's function
        fn, args = args[0], args[1:]
    parts = {f"argument {name!r}": each for name, each in (*enumerate(args), *kwargs.items())}
    if type(fn) is types.FunctionType:
        whose = f"of function {fn.__qualname__}"
        for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True):
            with contextlib.suppress(ValueError):  # the cell is empty
                parts[f"variable {name!r} {whose}"] = cell.cell_contents
        for name in fn.__code__.co_names:
            if name in fn.__globals__:
                parts[f"global {name!r} {whose}"] = fn.__globals__[name]
    return next((name for name, part in parts.items() if not _travels(part)), "")


def _travels(part: Any) -> bool:
    try:
        _Pickler().dump(part, by_value=True)
    except Exception:  # noqa: BLE001, pickling may run any code
        return False
    return True


class Large(NamedTuple):
    """A large buffer: the object that owns it, its content, and an existing copy of the content."""

    owner: Any
    content: memoryview
    copy: "Copy | None"


class _New:
    """A segment that is not yet made: the contents to copy, and its size."""

    def __init__(self) -> None:
        self.contents: list[tuple[int, memoryview]] = []
        self.size = 0

    def add(self, content: memoryview) -> tuple[int, int]:
        start, stop = self.size, self.size + content.nbytes
        self.contents.append((start, content))
        self.size = -(-stop // _ALIGNMENT) * _ALIGNMENT
        return start, stop

    def write(self, memory: "SharedMemory") -> "Shared":
        from .keeping import Shared  # only for large data

        segment = memory.create(self.size)
        for start, content in self.contents:
            segment.write(content, start)
        return Shared(segment, self.size)


class Pickled(NamedTuple):
    """A pickle with data to share: its parts, and its buffers, of which the small ones are bytearrays."""

    parts: list[Any]
    buffers: list[Large | bytearray]
    limit: int

    def share(self, memory: "SharedMemory") -> "tuple[Message, list[Shared]]":
        """Copy large data to new segments, unless a segment has them already.

        Very large buffers get segments of their own, so that a receiver that keeps one of them does not keep all.
        Return the message, without the addresses of its segments, and all these segments in its order.
        """
        numbers: dict[_New | Shared, int] = {}
        common, alone = _New(), 0

        def place(segment: "_New | Shared", start: int, stop: int) -> Place:
            return Place(numbers.setdefault(segment, len(numbers)), start, stop)

        parts: list[bytes | Place] = []
        for is_large, run in itertools.groupby(self.parts, lambda part: _is_large(part, self.limit)):
            if is_large:
                parts += [place(common, *common.add(memoryview(part))) for part in run]
            else:
                parts.append(b"".join(run))
        buffers: list[Place | bytearray] = []
        for each in self.buffers:
            if isinstance(each, bytearray):
                buffers.append(each)
            elif each.copy is not None:
                buffers.append(place(*each.copy))
            else:
                is_alone = each.content.nbytes >= _LEAST_ALONE and alone < _MOST_ALONE
                alone += is_alone
                segment = _New() if is_alone else common
                buffers.append(place(segment, *segment.add(each.content)))
        return Message(parts, buffers, []), [each.write(memory) if isinstance(each, _New) else each for each in numbers]


def _is_large(part: Any, limit: int) -> bool:
    return len(part) >= _LEAST_PART and len(part) >= limit


def _own(parts: list[Any], limit: int) -> list[Any]:
    """Return parts of a pickle that no thread can change: bytearrays are copied, and the GIL is not held for long."""
    own: list[Any] = []
    for part in parts:
        if type(part) is bytearray:
            step = max(_PIECE, limit)
            pieces = [part[start : start + step] for start in range(0, len(part), step)]
            # Its size is in the part before (BYTEARRAY8, pickletools), but other threads may have changed it since.
            own[-1] = own[-1][:-8] + sum(map(len, pieces)).to_bytes(8, "little")
            own += pieces
        else:
            own.append(part)
    return own


def pickle_buffers(obj: Any, limit: int, find: "Callable[[Any], Copy | None]") -> bytes | Pickled:
    """Return a pickle: bytes to send, or a Pickled with data that must be shared first.

    `limit` is the smallest size in bytes of a large buffer. `find` returns an existing copy of an object's buffer, if
    the task may use it.
    """
    pickler = _take_pickler()
    pickler.limit, pickler.find = limit, find
    try:
        parts, pickled = _pickle(obj, pickler)
    finally:
        originals, pickler.originals, pickler.find = pickler.originals, {}, find_nothing
    if sum(map(len, parts)) < _MOST_AGAIN:
        _picklers[False].append(pickler)
    if len(parts) == 1 and not pickled:
        return parts[0]  # type: ignore[no-any-return]
    buffers: list[Large | bytearray] = []
    for buffer in pickled:
        content, exporter = buffer.raw(), memoryview(buffer).obj
        if id(exporter) in originals:
            owner, copy = originals[id(exporter)]
            buffers.append(Large(owner, content, copy))
        elif content.nbytes < limit:
            buffers.append(bytearray(content))
        else:
            copy = find(exporter)
            is_part = copy is not None and copy.stop - copy.start != content.nbytes
            buffers.append(Large(exporter, content, None if is_part else copy))
    parts = _own(parts, limit)
    if any(_is_large(part, limit) for part in parts) or any(isinstance(each, Large) for each in buffers):
        return Pickled(parts, buffers, limit)
    whole = b"".join(parts)
    return pickle.dumps(Message([whole], buffers, []), pickle.HIGHEST_PROTOCOL) if buffers else whole  # type: ignore[arg-type]


def pickle_plain(obj: Any) -> bytes | None:
    """Return a pickle of a small object without buffers; None for others, and if workers do not find a name in it."""
    plain = is_plain(obj)
    if not plain:
        return None
    try:
        pickled = pickle.dumps(obj, pickle.HIGHEST_PROTOCOL) if plain > 1 else _pickle_numbers(obj)
    except _REFUSALS:
        return None
    only = obj[0] if type(obj) is tuple and pickled.count(_BY_NAME) == 1 else None
    return None if not pickled or here.names.are_missing(pickled.__contains__, only) else pickled


def _pickle_numbers(obj: Any) -> bytes:
    """Return a pickle of an object that contains objects of NumPy; empty if these have buffers."""
    pickler = _take_pickler()
    try:
        parts, buffers = pickler.dump(obj)
    finally:
        _picklers[False].append(pickler)
    return b"" if buffers else b"".join(parts)


def pickle_whole(obj: Any) -> bytes:
    """Return a pickle that includes all buffers."""
    pickler = _take_pickler(is_whole=True)
    pickled = b"".join(_own(_pickle(obj, pickler)[0], sys.maxsize))
    if len(pickled) < _MOST_AGAIN:
        _picklers[True].append(pickler)
    return pickled
