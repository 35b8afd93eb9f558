"""Defaults of the linearized model. Loads without torch, so that help and forms can show them."""

# Coordinates of each parameter tensor, as in unique information, section 5; of all tensors together in the Kronecker
# sketch, whose F-SI at t = 2000 then ranks examples as the exact kernel does (tests/benchmarks/sketches.py).
DIMENSION = 2000
