"""What a VM size can carry, for the sizes that bridges run on. No SDK: the policy reads this too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class VmSize:
    """A size's processors and the network bandwidth that Azure expects of it."""

    vcpus: int
    nic_mbps: int
    """Expected bandwidth of all NICs together, in Mbit/s. Azure meters only what is sent."""


# From the size pages of learn.microsoft.com as of November 2026. Only sizes whose figures were
# looked up stand here; for any other the operator names `nic_mbps` in the policy.
_SIZES: Final[dict[str, VmSize]] = {
    "standard_f2s_v2": VmSize(2, 5_000),
    "standard_f4s_v2": VmSize(4, 10_000),
    "standard_f8s_v2": VmSize(8, 12_500),
    "standard_f16s_v2": VmSize(16, 12_500),
    "standard_d4s_v5": VmSize(4, 12_500),
    "standard_d8s_v5": VmSize(8, 12_500),
    "standard_d4as_v5": VmSize(4, 12_500),
    "standard_d8as_v5": VmSize(8, 12_500),
}


def size_of(name: str) -> VmSize | None:
    """Look a size up by its Azure name (`Standard_F8s_v2`), in any case; None: not known here."""
    return _SIZES.get(name.lower())
