"""Defaults of the linearized model, importable without torch so that help and forms can show them."""

# Coordinates kept of each parameter tensor, as in unique information, section 5. The Kronecker sketch keeps this many
# of all tensors together; F-SI at t = 2000 then ranks examples as the exact kernel does (tests/benchmarks/sketches.py).
DIMENSION = 2000

FREEDOM = 4.0  # degrees of freedom of Student's t, the noise by which label quality judges values
