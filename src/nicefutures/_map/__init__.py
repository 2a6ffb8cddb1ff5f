"""What `map` of an executor does beyond the standard library's.

`results` have a size, `ordered` is the map of the process pool, whose calls go to workers in chunks, and `buffered`
that of the thread pool, which takes arguments as results are taken.
"""
