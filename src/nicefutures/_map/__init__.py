"""What `map` of an executor does beyond the standard library's.

`results` have a size, `buffered` takes arguments as results are taken, and `automatic` chunks have the size that takes
a few milliseconds.
"""
