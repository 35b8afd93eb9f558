"""Experiments on wrong labels, compared with other libraries."""
