"""Keep a pool busy."""

from patience import PATIENCE


class Feed:
    """Keep a pool busy: submit a task again whenever it ends."""

    def __init__(self, executor, task):
        self._executor, self._task, self._ends = executor, task, False
        self._futures = []
        self._futures += [executor.submit(self._run) for _ in range(4)]

    def _run(self):
        self._task()
        if not self._ends:
            self._futures.append(self._executor.submit(self._run))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._ends = True
        while self._futures:
            self._futures.pop().result(PATIENCE)
