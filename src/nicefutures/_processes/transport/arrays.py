"""Pickles of NumPy arrays with an out-of-band buffer, for those that NumPy puts into the pickle itself.

NumPy pickles what is not contiguous, and all subclasses, through a `bytes` object, which it makes and reads with the
GIL held. What comes out here is the same. Imported only where there are such arrays.
"""

import functools
import sys
from collections.abc import Callable
from pickle import PickleBuffer
from typing import Any, Literal

import numpy as np

_NDARRAY_PICKLES = ("__reduce__", "__reduce_ex__", "__setstate__")


class Copies:
    """Contiguous copies of arrays, and what they are copies of.

    Parameters
    ----------
    is_known : callable
        Tells of an array whether its content need not be sent.
    """

    def __init__(self, is_known: Callable[[Any], bool]) -> None:
        self._is_known = is_known
        self._originals: dict[int, tuple[Any, Any]] = {}

    def original(self, obj: Any) -> Any:
        """Return what an object is a copy of, or itself."""
        return self._originals.get(id(obj), (obj, obj))[1]

    def bytes_of(self, array: Any, order: Literal["C", "F"]) -> PickleBuffer:
        """Return an array's content, contiguous; or nothing, to stand for what need not be sent."""
        if self._is_known(array):
            content: Any = np.empty(0, np.uint8)
        elif array.flags.forc and array.flags.writeable:
            content = _flat(array)
        else:
            content = _flat(np.array(array, order=order, subok=False))  # a copy, made without the GIL
        self._originals[id(content)] = content, array
        return PickleBuffer(content)


def _flat(array: Any) -> Any:
    return array.view(np.ndarray).ravel("K").view(np.uint8)


def reduce_array(array: Any, copies: Copies) -> Any:
    """Return how an array is pickled, or NotImplemented: as ever."""
    kind = type(array)
    if array.dtype.hasobject or not array.dtype.isnative:  # NumPy swaps the bytes of some, and of others not
        return NotImplemented
    masked = sys.modules.get("numpy.ma")  # an import of its own, for who has such arrays
    if kind is getattr(masked, "MaskedArray", None) and array.baseclass is np.ndarray:
        # As its own pickles: with a mask for each element, and nothing that is said of it elsewhere.
        data, mask = array.data, np.ma.getmaskarray(array)
        return _rebuild_masked, (data, mask, array._fill_value)  # noqa: SLF001, as its own
    if kind is np.ndarray:
        if (array.flags.forc or _is_permuted(array)) and _has_buffer(array):
            return NotImplemented
    elif any(getattr(kind, name) is not getattr(np.ndarray, name) for name in _NDARRAY_PICKLES):
        return NotImplemented
    order: Literal["C", "F"] = "F" if array.flags.fnc else "C"
    return _rebuild, (kind, array.shape, array.dtype, order, copies.bytes_of(array, order))


def _has_buffer(array: Any) -> bool:
    """Return whether NumPy makes a buffer of it, which it does not of times."""
    try:
        memoryview(array)
    except ValueError:
        return False
    return True


def _rebuild(kind: Any, shape: tuple[int, ...], dtype: Any, order: Any, content: Any) -> Any:
    return np.ndarray.__new__(kind, shape, dtype, content, 0, None, order)


def _rebuild_masked(data: Any, mask: Any, fill_value: Any) -> Any:
    # As its own pickle, which puts the content into new memory.
    data, mask = (each if each.flags.writeable else each.copy() for each in (data, mask))
    array: Any = np.ma.MaskedArray(data, mask=mask, copy=False)
    array.fill_value = fill_value
    return array


def _is_permuted(array: Any) -> bool:
    """Return whether an array is contiguous with its axes in another order, and NumPy knows what to do with that."""
    if not _permuted_are_contiguous():
        return False
    axes = sorted(range(array.ndim), key=lambda axis: -array.strides[axis])
    return bool(array.transpose(axes).flags.c_contiguous)


@functools.cache
def _permuted_are_contiguous() -> bool:
    """Return whether NumPy pickles those with a buffer, which it does since 2.3."""
    return isinstance(np.zeros((2, 2, 2)).transpose(1, 0, 2).__reduce_ex__(5)[1][0], PickleBuffer)
