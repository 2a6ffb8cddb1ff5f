"""Pickles NumPy arrays with an out-of-band buffer if NumPy would put their content into the pickle itself.

NumPy pickles arrays that are not contiguous, and all subclasses, through a `bytes` object, which it makes and reads
with the GIL held. Unpickling gives the same array here. Imported only if there are such arrays.
"""

import functools
import sys
from collections.abc import Callable
from pickle import PickleBuffer
from typing import Any, Literal

import numpy as np

_NDARRAY_PICKLES = ("__reduce__", "__reduce_ex__", "__setstate__")


def _bytes_of(
    array: Any, order: Literal["C", "F"], find: Callable[[Any], Any], originals: dict[int, Any]
) -> PickleBuffer:
    """Return an array's content, contiguous; or an empty buffer if there is already a copy of the content."""
    copy = find(array)
    if copy is not None:
        content: Any = np.empty(0, np.uint8)
    elif array.flags.forc and array.flags.writeable:
        content = _flat(array)
    else:
        content = _flat(np.array(array, order=order, subok=False))  # a copy, made without the GIL
    originals[id(content)] = array, copy
    return PickleBuffer(content)


def _flat(array: Any) -> Any:
    return array.view(np.ndarray).ravel("K").view(np.uint8)


def reduce_array(array: Any, find: Callable[[Any], Any], originals: dict[int, Any]) -> Any:
    """Return the reduction of an array, or NotImplemented for NumPy's own. The arguments are those of `pickling`."""
    kind = type(array)
    if array.dtype.hasobject or not array.dtype.isnative:  # NumPy swaps the bytes of some arrays only
        return NotImplemented
    masked = sys.modules.get("numpy.ma")  # an import of its own, for programs with such arrays
    if kind is getattr(masked, "MaskedArray", None) and array.baseclass is np.ndarray:
        # Like NumPy's own pickle: with a mask for each element, and without other attributes.
        data, mask = array.data, np.ma.getmaskarray(array)
        return _rebuild_masked, (data, mask, array._fill_value)  # noqa: SLF001, as NumPy does
    if kind is np.ndarray:
        if array.flags.writeable and (array.flags.forc or _is_permuted(array)) and _has_buffer(array):
            return NotImplemented
    elif any(getattr(kind, name) is not getattr(np.ndarray, name) for name in _NDARRAY_PICKLES):
        return NotImplemented
    order: Literal["C", "F"] = "F" if array.flags.fnc else "C"
    return _rebuild, (kind, array.shape, array.dtype, order, _bytes_of(array, order, find, originals))


def _has_buffer(array: Any) -> bool:
    """Return whether NumPy gives a buffer of an array; it gives none of dates and times."""
    try:
        memoryview(array)
    except ValueError:
        return False
    return True


def _rebuild(kind: Any, shape: tuple[int, ...], dtype: Any, order: Any, content: Any) -> Any:
    return np.ndarray.__new__(kind, shape, dtype, content, 0, None, order)


def _rebuild_masked(data: Any, mask: Any, fill_value: Any) -> Any:
    # Like NumPy's own pickle, which puts the content into new memory, where it is writable.
    data, mask = (each if each.flags.writeable else each.copy() for each in (data, mask))
    array: Any = np.ma.MaskedArray(data, mask=mask, copy=False)
    array.fill_value = fill_value
    return array


def _is_permuted(array: Any) -> bool:
    """Return whether an array is contiguous with its axes in another order, and NumPy pickles it with a buffer."""
    if not _permuted_are_contiguous():
        return False
    axes = sorted(range(array.ndim), key=lambda axis: -array.strides[axis])
    return bool(array.transpose(axes).flags.c_contiguous)


@functools.cache
def _permuted_are_contiguous() -> bool:
    """Return whether NumPy pickles such arrays with a buffer, as it does since 2.3."""
    return isinstance(np.zeros((2, 2, 2)).transpose(1, 0, 2).__reduce_ex__(5)[1][0], PickleBuffer)
