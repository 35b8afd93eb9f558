"""Losses and curvatures: their derivatives, columns, Kronecker factors and iterative inverses."""
