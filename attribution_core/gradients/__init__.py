"""Jacobians, their sketches and tangent kernels."""
