"""Each rule that is compared does what its own system would do, on worlds small enough to follow."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta

import pytest

from sandbox.compare.azure_monitor import AzureMonitorAutoscale
from sandbox.compare.fleet import Fleet
from sandbox.compare.hpa import HorizontalPodAutoscaler
from sandbox.compare.jitsi_autoscaler import JitsiAutoscaler
from sandbox.compare.literal import LiteralRule
from sandbox.compare.policies import FixedFleet, Product
from tests.compare.fleets import START, Show, call, calls, cuts, fleet_of, machines, play

HOT, WARM = 190, 100
"""People in one conference: a CPU that is saturated, and one at about half."""


# --- the literal rule -----------------------------------------------------------------------


def test_literal_adds_one_for_a_hot_bridge_then_waits_ten_minutes():
    """One machine each time, and nothing more for ten minutes, whatever the load."""
    counts = play(fleet_of([30], [call(HOT)]), LiteralRule).play(25)
    assert [counts.index(number) for number in (2, 3, 4)] == [0, 10, 20]
    assert counts[-1] == 4


def test_literal_deletes_the_idle_oldest_at_once_when_old_enough():
    """At 55 minutes it stays, a minute later it is gone; the last one stays for ever."""
    show = play(fleet_of([50, 10]), LiteralRule)
    assert show.play(6) == [2, 2, 2, 2, 2, 1]
    assert show.play(60)[-1] == 1


def test_literal_keeps_all_while_the_oldest_is_busy():
    """An idle younger bridge does not go before a busy older one."""
    fleet = fleet_of([300, 200], [call(10)])
    fleet.world.advance(20)
    busy = next(vm for vm in machines(fleet) if vm.bridge and vm.bridge.conferences)
    for vm in machines(fleet):
        vm.time_created = START - timedelta(hours=9 if vm is busy else 2)
    assert set(play(fleet, LiteralRule).play(30)) == {2}


def test_literal_raises_the_minimum_at_four():
    """One machine more than the minimum for five minutes at 04:00; the old one goes, and then the surplus."""
    fleet = fleet_of([300], start=START.replace(hour=3, minute=58))
    show = play(fleet, LiteralRule)
    assert show.play(2) == [1, 2]
    show.play(8)
    assert machines(fleet)[0].number > 0
    assert show.play(60)[-1] == 1


# --- Azure Monitor autoscale ----------------------------------------------------------------


def test_azure_hides_one_full_bridge_among_idle_ones():
    """The average over two bridges stays low, so nobody helps the one that is full."""
    counts = play(fleet_of([100, 90], [call(HOT)]), AzureMonitorAutoscale).play(30)
    assert set(counts) == {2}


def test_azure_sees_a_load_minutes_late_and_adds_one_each_five_minutes():
    """Nothing before the load has filled most of a window that ends two minutes ago."""
    fleet = fleet_of([100], [call(HOT)])
    counts = play(fleet, AzureMonitorAutoscale).play(12)
    first = counts.index(2)
    assert 2 <= first <= 7
    assert set(counts[first : first + 5]) == {2}


def test_azure_takes_the_newest_with_its_calls_after_the_notice():
    """Fifteen minutes after the decision the machine is gone, and a call on it is cut."""
    fleet = fleet_of([100, 90], calls(2, 5))
    show = play(fleet, AzureMonitorAutoscale)
    counts = show.play(12)
    assert counts[-1] == 1
    announced = counts.index(1)
    assert cuts(fleet) == 0
    show.play(announced + 16 - 12)
    assert cuts(fleet) == 1
    assert fleet.world.history.lives[1].delete_asked_at is not None
    assert fleet.world.history.lives[0].delete_asked_at is None


def test_azure_does_not_take_what_would_bring_the_average_over_the_threshold():
    """No scale-in from a lone machine, and none whose projected average is too high."""
    assert set(play(fleet_of([100]), AzureMonitorAutoscale).play(20)) == {1}


# --- jitsi-autoscaler -----------------------------------------------------------------------


def test_jitsi_goes_out_by_one_each_eight_minutes():
    """Two hot minutes, one machine, then eight minutes without a decision; the idle new one ends it."""
    counts = play(fleet_of([100], [call(HOT)]), JitsiAutoscaler).play(30)
    assert counts.index(2) in (1, 2, 3)
    assert set(counts[counts.index(2) :]) == {2}


def test_jitsi_waits_eight_minutes_between_two_changes():
    """With calls enough to fill all that come, the second machine comes eight minutes after the first."""
    fleet = fleet_of([100], [call(HOT), *(call(HOT, name=f"more-{n}", after_minutes=5) for n in range(3))])
    counts = play(fleet, JitsiAutoscaler).play(20)
    assert counts.index(3) - counts.index(2) >= 8


def test_jitsi_goes_in_after_twenty_idle_minutes_by_the_fewest_people():
    """The bridge with fewer people ends by itself after its last call, which nobody cuts."""
    fleet = fleet_of([100, 90], [call(20, name="large"), call(3, 40, name="small", after_minutes=1)])
    show = play(fleet, JitsiAutoscaler)
    counts = show.play(30)
    assert counts.index(1) in (18, 19, 20)
    (leaving,) = [vm for vm in machines(fleet) if vm.name in fleet.leaving]
    assert leaving.bridge is not None
    assert leaving.bridge.people == 3
    show.play(20)
    assert len(machines(fleet)) == 1
    assert cuts(fleet) == 0


def test_jitsi_protects_the_young():
    """No machine is a victim in its first ten minutes, even when it is the only idle one."""
    fleet = fleet_of([100, 1], [call(5)])
    rule = JitsiAutoscaler(fleet)
    rule.wanted = 1
    fleet.world.advance(30)
    rule.step()
    assert [vm.number for vm in machines(fleet) if vm.name in fleet.leaving] == [0]


# --- HPA ------------------------------------------------------------------------------------


def test_hpa_asks_for_all_at_once_and_not_twice_for_machines_that_boot():
    """The count follows the summed use at once; machines on their way do not raise it."""
    fleet = fleet_of([100], [call(HOT)])
    counts = play(fleet, HorizontalPodAutoscaler).play(3)
    assert set(counts) == {2}


def test_hpa_goes_in_after_five_minutes_newest_first():
    """The wish must be low for five minutes; then the newest leaves, gracefully."""
    fleet = fleet_of([100, 90, 80], [call(5)])
    counts = play(fleet, HorizontalPodAutoscaler).play(8)
    assert counts[-1] == 1
    fleet = fleet_of([100], [call(HOT, minutes=10)])
    show = play(fleet, HorizontalPodAutoscaler)
    counts = show.play(30)
    back = counts.index(1, counts.index(2))
    assert 14 <= back <= 17
    assert machines(fleet)[0].number == 0
    assert cuts(fleet) == 0


# --- the others -----------------------------------------------------------------------------


def test_the_fixed_fleet_stays():
    """Nothing comes, nothing goes."""
    assert set(play(fleet_of([100, 90], [call(HOT)]), FixedFleet).play(20)) == {2}


def test_the_product_opens_its_machines_and_takes_the_idle_oldest():
    """The production engine runs on the same fleet: an idle bridge that is old enough goes, one stays."""
    fleet: Fleet = fleet_of([120, 100])
    with closing(Product(fleet)) as product:
        assert Show(fleet, product).play(30)[-1] == 1
    assert cuts(fleet) == 0


@pytest.mark.parametrize("wanted", [5, 50])
def test_nobody_gets_more_than_the_maximum(wanted: int):
    """The fleet grants at most what its maximum leaves, counting machines that are not listed yet."""
    fleet = fleet_of([10, 10])
    assert fleet.add(wanted) == min(wanted, 18)
    assert fleet.add(50) == 18 - min(wanted, 18)
