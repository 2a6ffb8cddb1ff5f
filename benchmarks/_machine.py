"""What the numbers were measured on, and whether it was quiet."""

import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import psutil

from ._pools import usable_cpus

_PACKAGES: Final = ("nicefutures", "numpy", "scipy", "psutil", "threadpoolctl")
_MAX_LOAD: Final = 0.5
_MAX_DRIFT: Final = 0.1
_AUTOGROUP: Final = Path("/proc/sys/kernel/sched_autogroup_enabled")


def describe_machine() -> dict[str, Any]:
    """Return what the machine and the Python are, as it goes into the JSON."""
    return {
        "cpu": _cpu_model(),
        "cores": {"logical": os.cpu_count(), "physical": psutil.cpu_count(logical=False), "usable": usable_cpus()},
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "os": platform.platform(),
        "autogroup": _AUTOGROUP.read_text().strip() == "1" if _AUTOGROUP.exists() else None,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "gil": bool(getattr(sys, "_is_gil_enabled", lambda: True)()),
        "packages": {name: version for name in _PACKAGES if (version := _version(name)) is not None},
        "load_before": psutil.getloadavg()[0],
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu_model() -> str:
    if sys.platform == "linux":
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
        models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
        model = next(models, "")
    elif sys.platform == "darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        model = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    else:
        model = platform.processor()
    return model or platform.machine()


def describe_in_a_line(machine: Mapping[str, Any]) -> str:
    """Return the machine as it stands below a table."""
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    gil = "" if machine["gil"] else " without the GIL"
    return f"{machine['cpu']}, {machine['cores']['usable']} CPUs, {machine['os']}, {machine['python']}{gil}, {packages}"


def find_noise(load: float, before: float | None, after: float | None) -> list[str]:
    """Return what to say of a machine that was not quiet.

    Parameters
    ----------
    load : float
        Load average of the minute before.
    before, after : float or None
        Frames per second with no background work, before and after all cells; None if not measured.

    Examples
    --------
    >>> find_noise(0.1, 2000, 2050)
    []
    """
    signs: list[str] = []
    if load > _MAX_LOAD:
        signs.append(f"the load average before was {load:.2f}, above {_MAX_LOAD}")
    if before and after and abs(after / before - 1) > _MAX_DRIFT:
        signs.append(f"with nothing in the background it computed {before:.0f} frames/s before and {after:.0f} after")
    if not signs:
        return []
    return [f"The machine was noisy: {', and '.join(signs)}. Close other programs, wait a minute, and run again."]
