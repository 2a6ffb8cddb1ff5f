"""How responsive a user interface stays under heavy NumPy loads: ``python -m benchmarks``.

From the outside in:

* :mod:`benchmarks.cli` is the command line. :mod:`benchmarks.suites` plan a run, :mod:`benchmarks.measuring` measures
  it, and :mod:`benchmarks.record` saves it as one JSON file.
* A *condition* (:mod:`benchmarks.subjects.condition`) is one executor at work under one load, and who watches. A *cell*
  measures one in a fresh process (:mod:`benchmarks.cells`), so that it leaves nothing to the next one: no lowered
  process, no warm cache. The cells run in rounds, each in another random order, so that what drifts (heat, other
  programs) is spread over all of them. Before and after, an idle baseline runs, so that drift shows.
* What is measured are executors under loads (:mod:`benchmarks.subjects`).
* Who watches (:mod:`benchmarks.watching`) is a heartbeat of 60 beats a second: in the same process, as a loop, an event
  loop or a real window, or in another process at normal priority, which also computes all the time for a while.
* The file is the truth. :mod:`benchmarks.analysis` computes, :mod:`benchmarks.findings` say it in tables and
  sentences, and :mod:`benchmarks.reporting` prints them, draws, makes a page of it all, and compares two runs.

Rooms know only those below them: ``cli``; ``reporting`` and ``measuring``; ``findings``; ``analysis`` and ``suites``;
``cells``; ``subjects`` and ``watching``; ``record`` and ``system``. What measures and what
reads a file do not know each other. ``system`` alone asks which system this is.

Nothing is imported here: a foreground process that loads NumPy would measure its own threads.
"""
