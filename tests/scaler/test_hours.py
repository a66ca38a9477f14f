"""Hours of machines: every moment of a life in exactly one class, counters through restarts and gaps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from scaler.hours import hour_rows
from scaler.samples import Minute, Sample, Spent

TEN = datetime(2026, 3, 4, 10, tzinfo=UTC)
ELEVEN = TEN + timedelta(hours=1)
MINUTE = timedelta(minutes=1)
OLD = TEN - timedelta(days=1)


def one(name: str = "a", spent: Spent = Spent.IDLE, created: datetime | None = OLD, **changes: Any) -> Sample:
    """A machine in one look."""
    return Sample(f"vm-{name}", name, created, spent, **changes)


def look(minute: float, *machines: Sample) -> Minute:
    """Machines so many minutes after ten."""
    return Minute(TEN + minute * MINUTE, "Standard_F8s_v2", {each.vm_id: each for each in machines})


def rows(*minutes: Minute, begin: datetime = TEN, end: datetime = ELEVEN) -> dict[str, dict[str, Any]]:
    """Rows by name."""
    return {row["name"]: row for row in hour_rows("s", minutes, begin, end)}


def spent(row: dict[str, Any]) -> dict[str, float]:
    """Classes of a row that are not 0, in seconds."""
    told = {each: row[f"{each}_seconds"] for each in Spent}
    assert sum(told.values()) == row["seconds"]
    return {str(each): seconds for each, seconds in told.items() if seconds}


def test_an_hour_of_a_machine_is_whole_whatever_the_seconds_of_the_looks():
    """From a look before the hour to one behind it: 3600 seconds, each in the class of the look before."""
    looks = [look(m + 0.3, one(spent=Spent.BUSY if m < 30 else Spent.IDLE)) for m in range(-1, 61)]
    row = rows(*looks)["a"]
    assert spent(row) == {"busy": 30 * 60 + 18, "idle": 30 * 60 - 18}
    assert (row["at"], row["shard"], row["vm_id"], row["looks"]) == ("2026-03-04T10:00:00Z", "s", "vm-a", 60)
    assert (row["vm_size"], row["created"], row["left"]) == ("Standard_F8s_v2", "2026-03-03T10:00:00Z", False)


def test_hours_follow_each_other_without_a_seam():
    """The same looks cut at eleven or not come to the same seconds, bytes and calls."""
    looks = [look(m + 0.7, one(bytes_sent=100 * m, conferences_created=m)) for m in range(-1, 122)]
    first = rows(*looks[:63])["a"]
    second = rows(*looks, begin=ELEVEN, end=ELEVEN + 60 * MINUTE)["a"]
    both = rows(*looks, begin=TEN, end=ELEVEN + 60 * MINUTE)["a"]
    for name in ("seconds", "idle_seconds", "bytes_sent", "conferences_created", "looks"):
        assert first[name] + second[name] == both[name]


def test_a_machine_lives_from_its_creation_to_the_first_list_without_it():
    """To the second at its begin; it boots until it is seen as something else."""
    born = TEN + timedelta(minutes=1, seconds=20)
    looks = [look(m, *([one("a", created=born)] if 3 <= m < 6 else [])) for m in range(10)]
    row = rows(*looks)["a"]
    assert spent(row) == {"booting": 100, "idle": 180}
    assert row["left"] is True


def test_who_leaves_does_so_in_one_hour():
    """In that of the first list without it: a life that ends over the turn of an hour ends once."""
    looks = [look(59, one("a"), one("b")), look(60.1, one("b")), look(61, one("b"))]
    before, after = rows(*looks), rows(*looks, begin=ELEVEN, end=ELEVEN + 60 * MINUTE)
    assert (before["a"]["seconds"], before["a"]["left"]) == (60, False)
    assert (after["a"]["seconds"], after["a"]["left"]) == (6, True)


def test_what_nobody_saw_is_counted_and_called_so():
    """A gap: who was there before and after it lived through it; who left in it, up to the first list."""
    looks = [look(0, one("a"), one("b")), look(1, one("a"), one("b")), look(41, one("a"), one("c"))]
    found = rows(*looks)
    assert spent(found["a"]) == {"idle": 60, "unseen": 40 * 60}
    assert spent(found["b"]) == {"idle": 60, "unseen": 40 * 60}
    assert (found["b"]["left"], found["a"]["left"]) == (True, False)
    assert spent(found["c"]) == {"unseen": 41 * 60}  # older than the lists without it: they were wrong


def test_who_came_in_a_gap_came_when_it_was_created():
    """It was not there before, whatever the gap; a creation behind the look is a clock's difference."""
    born = TEN + 20 * MINUTE
    booting = one("b", Spent.BOOTING, born)
    found = rows(look(0), look(30, one("a", created=born), booting))
    assert (spent(found["a"]), spent(found["b"])) == ({"unseen": 600}, {"booting": 600})


def test_an_hour_in_which_nobody_looked_is_not_empty():
    """The looks around it prove who was there."""
    row = rows(look(-5, one()), look(90, one()))["a"]
    assert spent(row) == {"unseen": 3600}
    assert (row["looks"], row["conferences_mean"], row["cpu_fraction_peak"]) == (0, None, None)
    assert (row["bytes_sent"], row["conferences_created"]) == (None, None)


def test_nothing_is_told_of_the_time_before_the_very_first_look():
    """Who was there when the scaler came is counted from then on, whenever it was created."""
    found = rows(look(10, one("a"), one("b", created=None)), look(11, one("a"), one("b", created=None)))
    assert (spent(found["a"]), spent(found["b"])) == ({"idle": 60}, {"idle": 60})
    assert found["b"]["created"] is None


def test_a_list_that_forgets_a_machine_once_does_not_end_its_life():
    """It is back in the next one, older than the one before: it was there all the time."""
    for looks in (
        [look(0, one()), look(1), look(2), look(3, one())],
        [look(0, one()), look(1), look(3, one())],
    ):
        row = rows(*looks)["a"]
        assert (spent(row), row["left"]) == ({"idle": 60, "unseen": 120}, False)


def test_counters_add_up_through_restarts_and_silence():
    """Growth is counted, also over silence; what begins anew counts from zero, fallen or not."""
    restarted = TEN + 5 * MINUTE
    told = [
        one(bytes_sent=1000, conferences_created=3),
        one(bytes_sent=1500, conferences_created=3),
        one(spent=Spent.UNHEARD),
        one(bytes_sent=1700, conferences_created=5),
        one(bytes_sent=50, conferences_created=0),  # fell
        one(bytes_sent=90, conferences_created=1, restarted=restarted),  # told before it was heard
        one(bytes_sent=5000, conferences_created=9, restarted=restarted + MINUTE),  # grew, and is another
    ]
    row = rows(*[look(number - 1, each) for number, each in enumerate(told)])["a"]
    assert row["bytes_sent"] == 500 + 200 + 50 + 90 + 5000
    assert row["conferences_created"] == 2 + 0 + 1 + 9


def test_a_process_that_is_not_heard_at_once_counts_from_zero_all_the_same():
    """A machine that boots, and a restart that shows before the counters do, lose nothing."""
    restarted = TEN + 5 * MINUTE
    told = [
        one(spent=Spent.BOOTING, created=TEN),
        one(created=TEN, bytes_sent=70),
        one(created=TEN, spent=Spent.UNHEARD, restarted=restarted),
        one(created=TEN, bytes_sent=500, restarted=restarted),
    ]
    looks = [look(0), *(look(number + 1, each) for number, each in enumerate(told))]
    assert rows(*looks)["a"]["bytes_sent"] == 70 + 500


def test_a_new_machine_counts_from_zero_and_one_that_was_there_from_what_it_showed():
    """What an adopted bridge sent before it was known is nobody's figure of this hour."""
    new = one("b", created=TEN + MINUTE, bytes_sent=70)
    undated = one("c", created=None, bytes_sent=70)
    adopted = one("a", bytes_sent=900)
    found = rows(look(0, adopted), look(2, adopted, new, undated), look(3, adopted, new, undated))
    assert [found[name]["bytes_sent"] for name in "abc"] == [0, 70, 0]


def test_figures_are_of_what_was_told():
    """Peaks and means leave out what is unknown; overload is time over the threshold."""
    looks = [
        look(0, one(conferences=2, cpu_fraction=0.5, pressure=1.2, out_mbps=10.0, participants=4)),
        look(1, one(spent=Spent.UNHEARD, pressure=None)),
        look(2, one(conferences=0, cpu_fraction=0.1, pressure=0.2, out_mbps=0.0, participants=0)),
        look(3, one()),
    ]
    row = rows(*looks)["a"]
    assert (row["conferences_peak"], row["conferences_mean"], row["participants_mean"]) == (2, 1.0, 2.0)
    assert (row["cpu_fraction_peak"], row["cpu_fraction_mean"]) == (0.5, 0.3)
    assert (row["egress_mbps_peak"], row["overload_seconds"]) == (10.0, 60)


def test_no_look_no_row():
    """Nothing is known, so nothing is said; who lived outside the window has no row in it."""
    assert hour_rows("s", [], TEN, ELEVEN) == []
    assert rows(look(-9, one()), look(-8, one("b"))) == {}
