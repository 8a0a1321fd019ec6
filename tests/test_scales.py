"""One table of how large features are: whole, in the order of the layout, and used by who needs scales."""

from __future__ import annotations

import math

from policies.layout import FEATURE_NAMES
from policies.learning.scales import APART, LIMITS, SCALES


def test_every_feature_but_noise_has_a_scale_in_the_order_of_the_layout() -> None:
    assert [scale.feature for scale in SCALES] == [name for name in FEATURE_NAMES if name != "noise"]
    assert list(APART) == [scale.feature for scale in SCALES]
    assert all(math.isfinite(apart) and apart > 0.0 for apart in APART.values())


def test_every_feature_has_limits_and_its_scale_fits_between_them() -> None:
    assert set(LIMITS) == set(FEATURE_NAMES)
    assert all(low < high for low, high in LIMITS.values())
    assert all(scale.apart <= scale.high - scale.low for scale in SCALES)
