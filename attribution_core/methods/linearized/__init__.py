"""The linearised model and what follows from it: SI, F-SI and NTK influence."""
