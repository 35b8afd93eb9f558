"""Experiments of the paper on influence in the kernel regime (Zhang and Zhang 2022)."""
