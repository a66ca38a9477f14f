"""Every kind of fault alone: it really happens, it breaks no promise, and the fleet rests behind it."""

from __future__ import annotations

from random import Random

import pytest

from sandbox.fault_kinds import KINDS
from sandbox.faults import Fault, Kind
from sandbox.scenario import scenario
from sandbox.simulation import Run, live_through

HOURS = 1.5
SEEDS = range(1, 9)


def often(kind: Kind) -> tuple[Fault, ...]:
    """The same trouble every eight minutes."""
    rng = Random(kind.name)
    times = [rng.uniform(0, 60) + 480 * n for n in range(int(HOURS * 7))]
    return tuple(Fault(kind.name, at_s, rng.uniform(*kind.lasts_s), rng.getrandbits(24)) for at_s in times)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_kind_of_fault_alone_happens_and_does_no_harm(kind: Kind) -> None:
    """Its count is that of its effects: a kind that is drawn and never felt would prove nothing."""
    for seed in SEEDS:
        verdict = live_through(seed, HOURS, often(kind))
        assert [str(violation) for violation in verdict.violations] == []
        assert verdict.restless == ()
        if verdict.exercised[kind.name]:
            return
    raise AssertionError(f"{kind.name} had no effect in {len(SEEDS)} runs")


def test_what_a_person_removes_by_adding_one_is_laid_at_no_one_elses_door() -> None:
    """Where more stand than the capacity says, a capacity that is one higher still removes machines."""
    site = Run(scenario(1, HOURS), (), HOURS).site
    standing = {vm.vm_id for vm in site.scale_set.live_vms()}
    site.scale_set.capacity = len(standing) - 2
    KINDS["vm_appears"].begin(site, Fault("vm_appears", 0, 0, 0))
    gone = standing - {vm.vm_id for vm in site.scale_set.live_vms()}
    assert len(gone) == 1
    assert gone == site.removed_by_others
