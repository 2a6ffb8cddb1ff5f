"""No shared memory that would be gone by itself when processes are killed."""


def find_shared_memory() -> None:
    return None
