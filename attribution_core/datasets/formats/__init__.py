"""Readers of the formats that a dataset may have, one module for each format."""
