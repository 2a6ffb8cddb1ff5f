"""What the library buys, measured: ``python -m benchmarks``.

Three suites, each in its own module: :mod:`benchmarks._job` (a real job beside a program in use),
:mod:`benchmarks._desktop` (the recipes beside the library) and :mod:`benchmarks._overhead` (what the library costs).
How it works:

* A *cell* is one thing to measure, such as one kind of pool at work. It runs in a fresh process
  (:mod:`benchmarks._cell`, :mod:`benchmarks._overhead_cell`), so that it leaves nothing to the next one: no
  lowered process, no warm cache.
* :mod:`benchmarks._run` runs the cells of a suite in rounds, each round in another random order, so that what drifts
  (heat, other programs) is spread over all of them. Before and after it runs the foreground alone, so that drift shows.
* Beside the background work runs the *foreground* (:mod:`benchmarks._foreground`), another process at normal priority,
  in the same session. It first computes all the time, in equal *frames*: how many a second is its speed. Then it
  draws 60 times a second on a fixed schedule, as a window does.
* Everything goes into one JSON file: the raw samples, the machine, the summary. What is printed comes from that file.

Nothing is imported here: a foreground process that loads NumPy would measure its own threads.
"""
