"""Experiments of the paper on the memory-perturbation equation (Nickl et al. 2023)."""
