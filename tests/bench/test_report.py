"""The verdicts and the bill of `make bench`, on figures made up here."""

from __future__ import annotations

import asyncio.events
import email.parser
import time

import aiohttp.client
import pytest

from bench.bill import FREE_GB_S, cost_page, month, usage_operations
from bench.cases import CASES
from bench.report import Line, lines, markdown, whose
from bench.sampling import owner, sampled

TICK = {
    "tick_s": 0.05,
    "peak_mb": 150.0,
    "calls_tables": 8.0,
    "calls_tables_all": 11.0,
    "calls_arm": 2.0,
    "calls_monitor": 1.0,
    "floor_poll_s": 0.01,
    "floor_json_s": 0.01,
    "floor_rows_s": 0.01,
}


USAGE = {"calls_an_hour": 12.0, "calls_a_day": 100.0, "calls_idle": 1.0, "hour_s": 0.1, "mb_a_day": 30.0}


def test_a_target_is_met_at_its_very_value_and_missed_beyond():
    """At most and at least both include the target itself."""
    assert Line("a", "", "", 4.0, 4.0).is_met
    assert not Line("a", "", "", 4.01, 4.0).is_met
    assert Line("a", "", "", 500, 500, at_least=True).is_met
    assert not Line("a", "", "", 499, 500, at_least=True).is_met


def test_a_whole_tick_is_held_against_the_sum_of_its_three_floors():
    """Poll, JSON and rows together are the floor."""
    found = lines({"tick_1000": {**TICK, "tick_s": 0.09}})
    assert [(line.what, round(line.value, 6), line.is_met) for line in found] == [
        ("whole tick, 1,000 bridges", 3.0, False)
    ]


def test_the_page_tells_a_missed_target():
    """Nobody has to compare figures to see it."""
    page = markdown([Line("poll", "1 s", "0.1 s", 10, 4, "times")], 3)
    assert "| poll | 1 s | 0.1 s | 10 times | at most 4 | MISSED |" in page
    assert "medians of 3 runs" in page


def test_cpu_time_is_told_by_whose_code_took_it():
    """What is small goes together; a tick is told by the bridge."""
    shares = {"share of azure": 0.6, "share of scaler": 0.39, "share of enum": 0.01}
    assert whose({"tick_100": {"tick_s": 0.2, **shares}}) == [
        "tick, 100 bridges, CPU ms a bridge: azure 1.2, scaler 0.78, others 0.02"
    ]
    assert whose({"poll": shares}) == ["poll, open connections: azure 60, scaler 39, others 1 %"]


def test_code_belongs_to_a_folder_of_ours_a_package_or_python():
    """Told by where its file lies."""
    ours = whose.__code__.co_filename
    installed = [aiohttp.client.__file__, email.parser.__file__, asyncio.events.__file__]
    names = [owner(file) for file in (ours, *installed, "<string>")]
    assert names == ["bench", "aiohttp", "email", "asyncio", "Python"]


def test_a_busy_loop_is_seen_where_it_runs():
    """Samples fall while code runs, and none after."""
    with sampled() as seen:
        until = time.process_time() + 0.05
        while time.process_time() < until:
            pass
    assert seen["tests"] > 0
    before = seen.copy()
    until = time.process_time() + 0.02
    while time.process_time() < until:
        pass
    assert seen == before


def test_the_bill_counts_only_what_lies_above_the_free_grant():
    """A month within the grants costs what its table operations cost, and nothing else."""
    tick = {**TICK, "tick_s": 0.0, "calls_tables": 0.0, "calls_tables_all": 0.0}
    small = month(5, tick, {**USAGE, "mb_a_day": 0.0})
    assert small.fits
    assert small.dollars < 0.01
    large = month(5, {**TICK, "tick_s": 5.0}, USAGE)
    assert not large.fits
    assert large.gb_s > FREE_GB_S
    assert large.dollars > (large.gb_s - FREE_GB_S) * 0.000026


def test_a_month_waits_for_the_poll_for_arm_and_for_the_tables():
    """An execution is paid for while it waits, and a hung bridge makes it wait longest."""
    idle = {**TICK, "tick_s": 0.0}
    assert month(5, idle, USAGE).tick_seconds == pytest.approx(1.25 + 0.5 + 6 * 0.01)
    assert month(5, idle, USAGE, poll_s=3.0).tick_seconds == pytest.approx(3.0 + 0.5 + 6 * 0.01)
    assert month(5, TICK, USAGE).tick_seconds == pytest.approx(1.81 + 0.05 / 0.25)


def test_of_five_ticks_one_reads_all_rows():
    """The bill counts the reads of that one, too."""
    plain = month(5, {**TICK, "calls_tables_all": 8.0}, USAGE).table_operations
    assert month(5, TICK, USAGE).table_operations - plain == pytest.approx((43_200 + 2_880) * 3 / 5)


def test_the_bill_has_a_row_for_each_fleet_and_names_what_it_was_made_of():
    """5, 50 and 500 bridges, from the cases of the same names."""
    cases = {f"{name}_{n}": of for n in (5, 50, 500) for name, of in (("tick", TICK), ("usage", USAGE))}
    page = cost_page(cases)
    first = [row.split(" | ")[0] for row in page.splitlines() if row.startswith("| 5")]
    assert first == ["| 5", "| 50", "| 500"] * 4
    assert cases.keys() <= CASES.keys()


def test_a_month_of_usage_is_its_hours_its_days_and_the_runs_between():
    """A run each quarter of an hour, three of four of which find nothing to do."""
    assert usage_operations(USAGE) == 720 * 12 + 30 * 100 + 2160
    with_rows, without = (month(5, TICK, {**USAGE, "mb_a_day": mb}).dollars for mb in (1000.0, 0.0))
    assert with_rows - without == pytest.approx(30 * 0.045)
