"""Jacobians, their sketches and tangent kernels."""

from attribution_core.gradients.jacobian import ParameterPlan, jacobian, plan_parameters, select_parameters
from attribution_core.gradients.ntk import layer_kernels_apply, tangent_kernels

__all__ = [
    "ParameterPlan",
    "jacobian",
    "layer_kernels_apply",
    "plan_parameters",
    "select_parameters",
    "tangent_kernels",
]
