"""The table of VM sizes."""

from __future__ import annotations

from compute.sizes import VmSize, size_of


def test_a_size_is_found_in_any_case() -> None:
    """Azure writes names of sizes in several ways."""
    assert size_of("Standard_F8s_v2") == size_of("STANDARD_F8S_V2") == VmSize(8, 12_500)


def test_an_unknown_size_is_unknown() -> None:
    """No figure is guessed for a size that is not in the table."""
    assert size_of("Standard_Z1") is None
