"""Background jobs: their requests, the process that carries one out, and its progress."""
