"""Published tables and figures, run again: one file each, each a command that prints its numbers.

Each runs as ``python -m attribution_core.experiments.NAME --data-root DIR``.
"""
