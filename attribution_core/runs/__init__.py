"""A run is a directory: schema, store, decisions, export."""
