"""Linear algebra without any knowledge of data or models."""
