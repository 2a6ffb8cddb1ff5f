"""What the numbers were measured on, and whether it was quiet."""

import importlib
import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import psutil

from ._executors import usable_cpus

_PACKAGES: Final = (
    "nicefutures",
    "numpy",
    "scipy",
    "psutil",
    "threadpoolctl",
    "joblib",
    "loky",
    "pebble",
    "pyperf",
    "PySide6-Essentials",
)
_MAX_LOAD: Final = 0.5
_MAX_DRIFT: Final = 0.1
_MAX_LATENESS_MS: Final = 2.0
_AUTOGROUP: Final = Path("/proc/sys/kernel/sched_autogroup_enabled")
_GOVERNOR: Final = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")


def describe_machine() -> dict[str, Any]:
    """Return what the machine and the Python are, as it goes into the JSON."""
    return {
        "cpu": _cpu_model(),
        "cores": {"logical": os.cpu_count(), "physical": psutil.cpu_count(logical=False), "usable": usable_cpus()},
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "os": platform.platform(),
        "kernel": platform.release(),
        # Of the CPU's frequency; None where the system does not tell, as in most virtual machines.
        "governor": _GOVERNOR.read_text().strip() if _GOVERNOR.exists() else None,
        "autogroup": _AUTOGROUP.read_text().strip() == "1" if _AUTOGROUP.exists() else None,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "gil": bool(getattr(sys, "_is_gil_enabled", lambda: True)()),
        "blas": _describe_blas(),
        "packages": {name: version for name in _PACKAGES if (version := _version(name)) is not None},
        "load_before": psutil.getloadavg()[0],
    }


def _describe_blas() -> list[dict[str, Any]]:
    """Return what threadpoolctl tells of NumPy's BLAS and its threads."""
    importlib.import_module("numpy")
    keys = ("user_api", "internal_api", "version", "threading_layer", "num_threads")
    threadpoolctl: Any = importlib.import_module("threadpoolctl")
    return [{key: info.get(key) for key in keys} for info in threadpoolctl.threadpool_info()]


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


def find_noise(load: float, before_ms: float | None, after_ms: float | None, speeds: Sequence[float]) -> list[str]:
    """Return what to say of a machine that was not quiet.

    Parameters
    ----------
    load : float
        Load average of the minute before.
    before_ms, after_ms : float or None
        The tool's own lateness, p95 with no background work, before and after all cells; None if not measured.
    speeds : sequence of float
        Frames per second with no background work, before and after.

    Examples
    --------
    >>> find_noise(0.1, 0.2, 0.3, [2000, 2050])
    []
    """
    signs: list[str] = []
    if load > _MAX_LOAD:
        signs.append(f"the load average before was {load:.2f}, above {_MAX_LOAD}")
    for when, lateness in (("before", before_ms), ("after", after_ms)):
        if lateness is not None and lateness > _MAX_LATENESS_MS:
            signs.append(
                f"the heartbeat alone was late by {lateness:.1f} ms {when} (p95), above {_MAX_LATENESS_MS:g} ms"
            )
    if speeds and max(speeds) / min(speeds) - 1 > _MAX_DRIFT:
        listed = " and then ".join(f"{speed:.0f}" for speed in speeds)
        signs.append(f"with nothing in the background it computed {listed} frames/s")
    if not signs:
        return []
    return [f"The machine was noisy: {', and '.join(signs)}. Close other programs, wait a minute, and run again."]
