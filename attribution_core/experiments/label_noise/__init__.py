"""Experiments on wrong labels, beside other libraries."""
