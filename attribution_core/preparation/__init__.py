"""Prepares a run: from its configuration to a dataset and a model that are ready to be trained."""
