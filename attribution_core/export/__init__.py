"""Cleaned datasets, written in the form that the person needs."""
