"""Labelled datasets, opened from wherever they lie."""
