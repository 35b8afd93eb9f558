"""What a run says about how its influence functions were computed."""

import torch

from attribution_core.methods.influence.spectrum import InfluenceSpectrum
from attribution_core.scoring.stages.influence import description_of


def test_only_a_curvature_with_all_its_directions_is_called_exact():
    parts = torch.ones(3, dtype=torch.float64), torch.ones(5, 3), torch.ones(2, 3)
    assert description_of(InfluenceSpectrum(*parts))["route"].endswith(", exact")
    flat = description_of(InfluenceSpectrum(*parts, flat_below=1e-6))
    assert flat == {
        "route": "Gauss-Newton matrix of the whole network, curvature below 1e-06 of the largest counts as zero"
    }
    sketched = description_of(InfluenceSpectrum(*parts, flat_below=1e-6, kept_energy=0.87))
    assert "in a sketch of 3 dimensions; outside it, along each gradient alone" in sketched["route"]
    assert sketched["kept_energy"] == 0.87
