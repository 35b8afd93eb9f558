"""The linearized model and its measures: SI, F-SI and NTK influence."""
