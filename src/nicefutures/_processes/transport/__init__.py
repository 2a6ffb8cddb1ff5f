"""Large buffers go between a pool's processes in shared memory; everything else in the pipe.

A task is pickled with protocol 5, whose out-of-band buffers (PEP 574) are copied to shared memory without the GIL, if
they are large. The worker maps them, copy on write, so each task has an array of its own. Results come back the same
way.

What is in the pickle itself and large (bytes, bytearray) is copied to shared memory, too, and from there by whoever
unpickles it, for these objects own their memory. When there is no memory, all of it goes into the pickle.

From the outside in: `parent` and `worker` are the two ends, what travels is a `message`, made by `pickling` (of arrays
with `arrays`) and read by `unpickling`; `keeping` is what the parent keeps of it for further tasks.
"""
