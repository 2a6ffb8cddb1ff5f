"""Large buffers go between a pool's processes in shared memory; everything else goes through the pipe.

A task is pickled with protocol 5. Its large out-of-band buffers (PEP 574) are copied to shared memory without the GIL.
The worker maps them, copy on write, so each task has an array of its own. Results come back in the same way.

Large objects in the pickle itself (bytes, bytearray) are copied to shared memory as well. The receiver copies them from
there, because these objects own their memory. If there is no memory, everything goes into the pickle.

From the outside in: `parent` and `worker` are the two ends. They exchange a `message`, which `pickling` makes (with
`arrays` for arrays). In the parent, `keeping` keeps pickled data for further tasks.
"""
