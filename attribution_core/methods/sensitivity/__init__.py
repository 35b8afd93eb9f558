"""The memory-perturbation equation: the sensitivity of a model to each example."""
