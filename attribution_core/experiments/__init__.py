"""Experiments that repeat published tables and figures: a folder for each paper, a module for each command.

``samplescope reproduce NAME --data-root DIR`` runs one; ``samplescope reproduce --list`` shows them all.
"""
