"""Structures of the Windows API, in a module of their own, because only some processes need ctypes."""

import ctypes
from ctypes import wintypes


class MemoryPriorityInformation(ctypes.Structure):
    """``MEMORY_PRIORITY_INFORMATION`` (``processthreadsapi.h``)."""

    _fields_ = (("MemoryPriority", wintypes.ULONG),)


class PowerThrottlingState(ctypes.Structure):
    """``PROCESS_POWER_THROTTLING_STATE`` (``processthreadsapi.h``)."""

    _fields_ = (
        ("Version", wintypes.ULONG),
        ("ControlMask", wintypes.ULONG),
        ("StateMask", wintypes.ULONG),
    )


class BasicLimitInformation(ctypes.Structure):
    """``JOBOBJECT_BASIC_LIMIT_INFORMATION`` (``winnt.h``)."""

    _fields_ = (
        ("PerProcessUserTimeLimit", wintypes.LARGE_INTEGER),
        ("PerJobUserTimeLimit", wintypes.LARGE_INTEGER),
        ("LimitFlags", wintypes.DWORD),
        ("MinimumWorkingSetSize", ctypes.c_size_t),
        ("MaximumWorkingSetSize", ctypes.c_size_t),
        ("ActiveProcessLimit", wintypes.DWORD),
        ("Affinity", ctypes.c_size_t),
        ("PriorityClass", wintypes.DWORD),
        ("SchedulingClass", wintypes.DWORD),
    )


class IoCounters(ctypes.Structure):
    """``IO_COUNTERS`` (``winnt.h``)."""

    _fields_ = tuple(
        (f"{what}{unit}Count", ctypes.c_ulonglong)
        for unit in ("Operation", "Transfer")
        for what in ("Read", "Write", "Other")
    )


class ExtendedLimitInformation(ctypes.Structure):
    """``JOBOBJECT_EXTENDED_LIMIT_INFORMATION`` (``winnt.h``)."""

    _fields_ = (
        ("BasicLimitInformation", BasicLimitInformation),
        ("IoInfo", IoCounters),
        ("ProcessMemoryLimit", ctypes.c_size_t),
        ("JobMemoryLimit", ctypes.c_size_t),
        ("PeakProcessMemoryUsed", ctypes.c_size_t),
        ("PeakJobMemoryUsed", ctypes.c_size_t),
    )


class LastInputInfo(ctypes.Structure):
    """``LASTINPUTINFO`` (``winuser.h``)."""

    _fields_ = (("cbSize", wintypes.UINT), ("dwTime", wintypes.DWORD))


class SystemPowerStatus(ctypes.Structure):
    """``SYSTEM_POWER_STATUS`` (``winbase.h``)."""

    _fields_ = (
        ("ACLineStatus", ctypes.c_ubyte),
        ("BatteryFlag", ctypes.c_ubyte),
        ("BatteryLifePercent", ctypes.c_ubyte),
        ("SystemStatusFlag", ctypes.c_ubyte),
        ("BatteryLifeTime", wintypes.DWORD),
        ("BatteryFullLifeTime", wintypes.DWORD),
    )
