"""The `map` of the executors, with additions to the standard library's.

`results` have a length, `ordered` is the map of the process pool, which sends calls in chunks, and `buffered` is the
map of the thread pool, which reads the inputs as the caller reads the results.
"""
