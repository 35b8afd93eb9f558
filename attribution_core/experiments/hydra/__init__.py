"""Experiments of the paper on HYDRA (Chen et al. 2021)."""
