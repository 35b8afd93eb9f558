"""HYDRA: what each example contributed over a whole training."""
