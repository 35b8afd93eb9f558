"""Background jobs: what is requested, the process that does it, and how far it is."""
