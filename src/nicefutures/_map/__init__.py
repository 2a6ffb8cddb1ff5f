"""What `map` of an executor does beyond the standard library's: results with a size, buffers, automatic chunks."""
