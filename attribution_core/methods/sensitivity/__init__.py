"""The memory-perturbation equation: how sensitive a model is to each example."""
