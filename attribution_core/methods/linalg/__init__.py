"""Linear algebra that knows nothing of data or models."""
