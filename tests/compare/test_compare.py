"""The bound, what is counted, and the command as a whole."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from xml.etree import ElementTree

import pytest

from sandbox.compare.__main__ import main
from sandbox.compare.bound import Capacity, Demand, accepting_by_rule, demand_by_minute
from sandbox.compare.fleet import Fleet
from sandbox.compare.judge import Comparison, beats, losses, verdicts
from sandbox.compare.observer import Observer, count_reversals
from sandbox.compare.policies import OURS, POLICIES
from sandbox.compare.report import markdown
from sandbox.compare.week import Result, bound_of, simulate
from sandbox.workload import Workload
from tests.compare.fleets import START, call, fleet_of, machines

EACH = Capacity(people=200, mbps=8750, microcores=5_760_000)


# --- the bound ------------------------------------------------------------------------------


def test_the_bound_follows_the_demand_minute_by_minute():
    """One conference counts from its start to its end, and one person alone needs nothing."""
    midnight = START.replace(hour=0)
    planned = [call(150, 30, "a"), call(150, 30, "b", after_minutes=10), call(1, 30, "alone")]
    people = [demand.people for demand in demand_by_minute(Workload.of(planned), midnight, 1)]
    nine = 9 * 60
    assert people[nine - 1 : nine + 2] == [0, 150, 150]
    assert people[nine + 9 : nine + 11] == [150, 300]
    assert people[nine + 30] == 150
    assert people[nine + 40 :] == [0] * (1440 - nine - 40)


@pytest.mark.parametrize(
    ("demand", "bridges"),
    [
        (Demand(), 1),
        (Demand(people=200), 1),
        (Demand(people=201), 2),
        (Demand(people=10, receives_kbps=8_750_001), 2),
        (Demand(people=10, microcores=11_000_000), 2),
    ],
)
def test_the_bound_takes_the_scarcest_of_people_network_and_cpu(demand: Demand, bridges: int):
    """Whatever runs out first decides; one bridge always stands."""
    assert demand.bridges(EACH) == bridges


def test_the_limits_keep_room_for_a_rise_and_let_one_go_a_minute():
    """Over 0.8 on each asks for more at once; at 0.6 on those that remain one goes, not two."""
    demands = [0.8, 0.81, 4.0, 2.41, 2.4, 1.0, 1.0, 0.61, 0.6]
    assert [*accepting_by_rule(demands, 0.8, 0.6)] == [1, 2, 5, 5, 4, 3, 2, 2, 1]


@pytest.mark.parametrize("policy", POLICIES)
def test_no_policy_without_overload_is_below_the_bound(policy: str):
    """A quiet day overloads nobody, nobody is below the bound, and the same seed tells the same."""
    result = simulate(policy, "quiet", seed=1, days=1)
    assert result.overload_minutes == 0
    assert result.bridge_hours >= result.bound_hours
    assert result == simulate(policy, "quiet", seed=1, days=1)


def test_every_policy_is_judged_by_the_same_bound():
    """The bound depends on shape and seed alone."""
    assert bound_of("webinar", 1, days=1) == bound_of("webinar", 1, days=1) != bound_of("webinar", 2, days=1)


# --- what is counted ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "reversals"),
    [
        ([(0, 1), (10, -1), (20, 1)], 1),
        ([(0, 1), (10, -1), (61, 1)], 0),
        ([(0, -1), (10, 1), (20, -1)], 0),
        ([(0, 1), (5, 1), (10, -1), (12, -1), (64, 1)], 1),
        ([(0, 1), (10, -1), (20, 1), (30, -1), (40, 1)], 2),
    ],
)
def test_a_reversal_is_out_in_out_within_an_hour(steps: list[tuple[int, int]], reversals: int):
    """From the last machine that came to the first that comes again, with one going between them."""
    assert count_reversals((START + timedelta(minutes=at), way) for at, way in steps) == reversals


def test_a_drain_counts_from_the_drain_on_and_a_new_bridge_that_starts_drained_does_not():
    """Drain-hours are those of bridges that were open and were given up."""
    fleet: Fleet = fleet_of([100, 90])
    observer = Observer(fleet)
    observer.look()
    first, second = machines(fleet)
    assert first.bridge is not None
    assert second.bridge is not None
    first.bridge.set_drain(on=True)
    observer.look()
    assert observer.drain_minutes == 1
    fleet.shut_down(second)
    observer.look()
    assert observer.drain_minutes == 3


def test_hours_are_told_by_what_holds_the_bridge():
    """Drained and busy: its calls. Idle and younger than a busy one: the literal rule."""
    fleet: Fleet = fleet_of([100, 90, 80], [call(10, 30)])
    fleet.world.advance(60)
    observer = Observer(fleet)
    busy = next(vm for vm in machines(fleet) if vm.bridge is not None and vm.bridge.conferences)
    younger = sum(1 for vm in machines(fleet) if vm.time_created > busy.time_created)
    observer.look()
    assert (observer.held_minutes, observer.behind_minutes) == (0, younger)
    assert busy.bridge is not None
    busy.bridge.set_drain(on=True)
    observer.look()
    assert (observer.held_minutes, observer.behind_minutes) == (1, 2 * younger)


# --- judgement ------------------------------------------------------------------------------


def result_of(policy: str, hours: float, minutes: int, cut: int = 0) -> Result:
    return Result(policy, "office", 1, hours, 100.0, minutes, 0.0, cut, cut, 0.0, 0)


def test_a_rival_that_is_better_on_both_is_named():
    """The verdict fails and names it, unless it cuts calls; every loss is told."""
    ours = result_of(OURS, 150, 10)
    better = result_of("hpa", 140, 5)
    assert beats(better, ours)
    comparison = Comparison((ours, better))
    failed = [verdict for verdict in verdicts(comparison) if not verdict.holds]
    assert "HPA" in failed[0].because
    assert "less overload and fewer bridge-hours" in losses(comparison, "office")[0]
    cutter = Comparison((ours, replace(better, calls_cut=1)))
    assert verdicts(cutter)[1].holds
    assert "calls cut: 1" in losses(cutter, "office")[0]


def test_a_cut_call_fails_the_first_promise():
    """One call is enough."""
    assert not verdicts(Comparison((result_of(OURS, 1, 0, cut=1),)))[0].holds


@pytest.mark.parametrize(
    ("held", "said"),
    [
        (10, "34 hours are idle bridges behind a busy older one"),
        (60, "The limits and the calls alone leave 28%"),
    ],
)
def test_a_missed_share_is_explained(held: float, said: str):
    """By the literal rule, where the limits and the calls alone would do; by these, where they would not."""
    ours = replace(result_of(OURS, 200, 10), rule_hours=120.0, held_hours=held, behind_hours=34.0)
    page = markdown(Comparison((ours, result_of("literal", 250, 10))), "command", 7, 1, 20)
    assert "office: 20% fewer than the literal rule" in page
    assert said in page


# --- the command ----------------------------------------------------------------------------


def test_the_command_prints_and_writes_the_comparison(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A table in the terminal, a page and a picture that is well-formed; twice the same bytes."""
    asked = ["--seeds", "1", "--days", "1", "--shapes", "quiet,giant", "--policies", "default,hpa,fixed"]
    asked += ["--jobs", "1", "--docs", str(tmp_path)]
    assert main(asked) == 0
    page, picture = (tmp_path / "comparison.md").read_text(), (tmp_path / "comparison.svg").read_text()
    printed = capsys.readouterr().out
    assert "this product" in printed
    assert "clairvoyant bound" in page
    assert "| HPA |" in page
    assert ElementTree.fromstring(picture).tag.endswith("svg")
    assert main(asked) == 0
    assert (tmp_path / "comparison.md").read_text() == page
    assert (tmp_path / "comparison.svg").read_text() == picture


def test_unknown_names_are_told(capsys: pytest.CaptureFixture[str]):
    """A shape that does not exist ends the command with the names that do."""
    with pytest.raises(SystemExit):
        main(["--shapes", "moon"])
    assert "office" in capsys.readouterr().err
