"""From a prepared dataset and model to a scored run: the stages, and what they cost before they run."""
