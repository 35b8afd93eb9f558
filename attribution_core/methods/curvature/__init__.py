"""Losses and curvatures: derivatives, columns, Kronecker factors and iterative inverses."""
