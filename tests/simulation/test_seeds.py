"""A bounded number of seeds, and what makes a seed worth anything: that it repeats."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

import pytest

import scaler.tick
from sandbox import sim
from sandbox.fault_kinds import KINDS, ONCE_PER_RUN
from sandbox.faults import Fault, draw
from sandbox.shrink import shrink
from sandbox.sim import ACTS, Summary
from sandbox.simulation import live_through

SEEDS = range(1, 21)
HOURS = 2.0
ONCE_FAILED = (1001876, 1003304, 1003355, 3284, 2000514, 2003029, 9400013, 9500475)
"""Of four hours. Each of them found a fault, of the engine or of a checker, that is mended."""


@pytest.mark.parametrize("seed", SEEDS)
def test_no_promise_is_broken_and_the_fleet_comes_to_rest(seed: int) -> None:
    """Two hours of faults, then peace: no call cut by us, no rule broken, every act in the books."""
    verdict = live_through(seed, HOURS)
    assert [str(violation) for violation in verdict.violations] == []
    assert verdict.restless == ()


@pytest.mark.parametrize("seed", ONCE_FAILED)
def test_a_seed_that_once_failed_passes(seed: int) -> None:
    """What a long run found is looked at again in each short one."""
    verdict = live_through(seed, 4.0)
    assert [str(violation) for violation in verdict.violations] == []
    assert verdict.restless == ()


def test_one_seed_lives_the_same_day_twice() -> None:
    """Journal and counts are the same to the byte; another seed's are not."""
    first, again, other = (live_through(seed, HOURS) for seed in (4, 4, 5))
    assert first.digest == again.digest
    assert (first.exercised, first.acts, first.ticks) == (again.exercised, again.acts, again.ticks)
    assert first.digest != other.digest


def test_leaving_one_fault_out_changes_no_other() -> None:
    """Each kind has its own stream of chance, so a plan can be shrunk."""
    without = {name: kind for name, kind in KINDS.items() if name != "jvb_crash"}
    whole, less = draw(3, 24, KINDS.values()), draw(3, 24, without.values())
    assert tuple(fault for fault in whole if fault.kind != "jvb_crash") == less
    assert len(whole) > 50


def test_a_plan_shrinks_to_the_faults_that_matter() -> None:
    """Two of forty, found in far fewer runs than there are plans."""
    plan = tuple(Fault("jvb_crash", float(n), 1, n) for n in range(40))
    tries = 0

    def fails(shorter: Sequence[Fault]) -> bool:
        nonlocal tries
        tries += 1
        return {7, 31} <= {fault.pick for fault in shorter}

    assert [fault.pick for fault in shrink(plan, fails)] == [7, 31]
    assert tries < 60


def test_a_run_that_fails_without_any_fault_shrinks_to_nothing() -> None:
    """The story is then that nothing was needed."""
    assert shrink((Fault("jvb_crash", 0, 1, 1),), lambda _plan: True) == ()


def test_a_kind_of_fault_that_never_happened_is_named() -> None:
    """A proof under faults that were not there would prove nothing."""
    summary = Summary()
    summary.add(live_through(4, 0.5))
    happened = {name for name, count in (summary.exercised + summary.acts).items() if count}
    assert set(summary.never_exercised) == {*KINDS, *ONCE_PER_RUN, *ACTS} - happened


def test_the_same_seeds_are_the_same_in_another_process_and_a_kind_never_met_fails_the_run() -> None:
    """Whatever the order of hashes there; half an hour cannot meet every kind of fault."""
    command = [sys.executable, "-m", "sandbox.sim", "--seeds", "2", "--hours", "0.5", "--jobs", "1"]
    digests = set()
    for hash_seed in ("1", "2"):
        env = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert "0 seeds failed" in done.stdout
        assert "never exercised: " in done.stdout
        digests |= {line for line in done.stdout.splitlines() if line.startswith("Digest")}
    assert len(digests) == 1


def test_a_failing_seed_is_told_with_its_smallest_story(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The seed, what was broken, the faults that are enough, and how it ended."""

    def fails(*_args: object, **_more: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(scaler.tick, "decide", fails)
    monkeypatch.setattr(sys, "argv", ["sim", "--seeds", "1", "--first", "7", "--hours", "0.5", "--jobs", "1"])
    assert sim.main() == 1
    said = capsys.readouterr().out
    assert "seed 7: books: a fault of the autoscaler itself" in said
    assert "faults are enough:" in said
    assert "VIOLATION books" in said
    assert "1 seeds failed: 7" in said
