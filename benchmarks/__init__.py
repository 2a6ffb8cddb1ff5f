"""How responsive a user interface stays under heavy NumPy loads: ``python -m benchmarks``.

From the outside in:

* :mod:`benchmarks.cli` is the command line. :mod:`benchmarks.suites` plan a run, :mod:`benchmarks.measuring` measures
  it, and :mod:`benchmarks.record` saves it as one JSON file.
* A *condition* (:mod:`benchmarks.subjects.condition`) is one executor that runs one load, and an observer. A *cell*
  (:mod:`benchmarks.cells`) measures one condition in a fresh process, so that it leaves no lowered process and no warm
  cache to the next one. The cells run in rounds, each round in another random order, so that drift (heat, other
  programs) is spread over all cells. An idle baseline runs before and after them to show the drift.
* The executors and loads to measure are in :mod:`benchmarks.subjects`.
* The observer (:mod:`benchmarks.watching`) is a heartbeat of 60 beats a second: in the same process, as a loop, an
  event loop or a real window, or in another process at normal priority, which also computes without a pause for a time.
* All output comes from the file. :mod:`benchmarks.analysis` computes, :mod:`benchmarks.findings` makes tables and
  sentences, and :mod:`benchmarks.reporting` prints them, draws figures, writes a page, and compares two runs.

Packages import only those below them: ``cli``; ``reporting`` and ``measuring``; ``findings``; ``analysis`` and
``suites``; ``cells``; ``subjects`` and ``watching``; ``record`` and ``system``. Code that measures and code that reads
a file do not import each other. Only ``system`` asks for the operating system.

This module imports nothing: a foreground process that loads NumPy would measure its own BLAS threads.
"""
