"""Pure functions of scores, effects and embeddings."""
