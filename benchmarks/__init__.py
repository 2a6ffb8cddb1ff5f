"""How responsive a user interface stays under heavy NumPy loads: ``python -m benchmarks``.

From the outside in:

* :mod:`benchmarks._cli` is the command line. A run is planned by :mod:`benchmarks._designs` (which conditions a suite
  has), measured by :mod:`benchmarks._run`, and saved by :mod:`benchmarks._record` as one JSON file.
* A *condition* (:mod:`benchmarks._condition`) is one executor at work under one load, and who watches. A *cell*
  measures one in a fresh process (:mod:`benchmarks._cell`), so that it leaves nothing to the next one: no lowered
  process, no warm cache. The cells run in rounds, each in another random order, so that what drifts (heat, other
  programs) is spread over all of them. Before and after, an idle baseline runs, so that drift shows.
* Who watches is a heartbeat of 60 beats a second (:mod:`benchmarks._heartbeat`): in the same process, as a loop, an
  event loop or a real window (:mod:`benchmarks._ui`), or in another process at normal priority
  (:mod:`benchmarks._foreground`), which also computes all the time for a while.
* What is measured: :mod:`benchmarks._executors` under :mod:`benchmarks._loads`, kept busy by
  :mod:`benchmarks._background`.
* The file is the truth. :mod:`benchmarks._rows` and :mod:`benchmarks._bootstrap` compute, :mod:`benchmarks._summary`
  says it in tables and sentences, :mod:`benchmarks._figures` draws, :mod:`benchmarks._report` makes a page of it all,
  and :mod:`benchmarks._compare` tells whether two runs agree.
* :mod:`benchmarks._overhead` and :mod:`benchmarks._overhead_cell` measure costs with pyperf instead.

Nothing is imported here: a foreground process that loads NumPy would measure its own threads.
"""
