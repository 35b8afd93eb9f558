"""HYDRA: the contribution of each example over a whole training."""
