"""The machine on which the numbers are measured."""

import importlib
import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import psutil

from ..system import LINUX, MACOS, usable_cpus

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
_AUTOGROUP: Final = Path("/proc/sys/kernel/sched_autogroup_enabled")
_GOVERNOR: Final = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")


def describe_machine() -> dict[str, Any]:
    """Return a description of the machine and of Python for the JSON."""
    return {
        "cpu": _cpu_model(),
        "cores": {"logical": os.cpu_count(), "physical": psutil.cpu_count(logical=False), "usable": usable_cpus()},
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "os": platform.platform(),
        "kernel": platform.release(),
        # Of the CPU's frequency; None where the system does not report it, as in most virtual machines.
        "governor": _GOVERNOR.read_text().strip() if _GOVERNOR.exists() else None,
        "autogroup": _AUTOGROUP.read_text().strip() == "1" if _AUTOGROUP.exists() else None,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "gil": bool(getattr(sys, "_is_gil_enabled", lambda: True)()),
        "blas": _describe_blas(),
        "packages": {name: version for name in _PACKAGES if (version := _version(name)) is not None},
        "load_before": psutil.getloadavg()[0],
    }


def _describe_blas() -> list[dict[str, Any]]:
    """Return threadpoolctl's report on NumPy's BLAS and its threads."""
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
    if LINUX:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
        models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
        model = next(models, "")
    elif MACOS:
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        model = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    else:
        model = platform.processor()
    return model or platform.machine()
