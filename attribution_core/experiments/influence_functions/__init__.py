"""Experiments of the paper on influence functions and proximal Bregman response (Bae et al. 2022)."""
