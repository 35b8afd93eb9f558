"""Benchmarks: each prints one JSON line. Outside the test suite: ``make bench``."""
