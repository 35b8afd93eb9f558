"""Training with a recorded trajectory."""
