"""Measure how good the scores are, against real retraining."""
