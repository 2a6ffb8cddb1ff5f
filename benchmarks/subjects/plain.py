"""Tasks without NumPy, for interpreters, which cannot import it. This module imports nothing."""


def compute(steps: int) -> None:
    """Run bytecode."""
    total = 0
    for number in range(steps):
        total += number * number % 7


def run_python() -> None:
    """Run 5 ms of bytecode."""
    compute(80_000)


def run_python_1ms() -> None:
    """Run 1 ms of bytecode."""
    compute(16_000)


def run_python_10ms() -> None:
    """Run 10 ms of bytecode."""
    compute(160_000)


def run_python_50ms() -> None:
    """Run 50 ms of bytecode."""
    compute(800_000)


def run_objects() -> None:
    """Allocate 4 MB of small objects and free them, which takes locks of the process."""
    objects = [[number] for number in range(30_000)]
    del objects
