"""List prices of what bridges cost on Azure. Dated: an operator who relies on them sets `SCALER_PRICES`."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from scaler.costs import Prices

# Linux, pay as you go, East US, without tax, from a public data set of that month. Sizes as in `sizes.py`.
LIST_PRICES: Final = Prices(
    currency="USD",
    as_of="2023-07",
    vm_hour=MappingProxyType(
        {
            "standard_f2s_v2": 0.0846,
            "standard_f4s_v2": 0.169,
            "standard_f8s_v2": 0.338,
            "standard_f16s_v2": 0.677,
            "standard_d4s_v5": 0.192,
            "standard_d8s_v5": 0.384,
            "standard_d4as_v5": 0.172,
            "standard_d8as_v5": 0.344,
        }
    ),
    egress_gb=0.087,
)
"""Egress: the first tier behind the free grant of 100 GB a month, which is not taken off; more costs less."""
