"""Data that ships with SampleScope: the demo dataset and the pictures of the documentation."""
