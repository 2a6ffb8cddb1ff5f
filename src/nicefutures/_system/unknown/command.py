"""A command runs as a child: no process is replaced."""


def is_program(path: str) -> bool:
    return False


def lower_early(level: str) -> bool:
    return False


def become(command: list[str], level: str, *, efficiency: bool) -> int:
    import subprocess  # here, because a worker does without

    return subprocess.call(command)
