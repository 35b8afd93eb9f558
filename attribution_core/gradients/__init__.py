"""Jacobians, their sketches and tangent kernels."""

from attribution_core.gradients.jacobian import jacobian
from attribution_core.gradients.kronecker import kronecker_plan
from attribution_core.gradients.ntk import gradient_norms, gradient_products, layer_kernels_apply, tangent_kernels
from attribution_core.gradients.plan import ParameterPlan, plan_parameters, select_parameters

__all__ = [
    "ParameterPlan",
    "gradient_norms",
    "gradient_products",
    "jacobian",
    "kronecker_plan",
    "layer_kernels_apply",
    "plan_parameters",
    "select_parameters",
    "tangent_kernels",
]
