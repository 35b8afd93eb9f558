"""Experiments of the paper on unique information (Harutyunyan et al. 2021)."""
