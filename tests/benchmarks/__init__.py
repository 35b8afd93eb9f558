"""Benchmarks, outside the test suite (``make bench``). Each prints its results as JSON lines."""
