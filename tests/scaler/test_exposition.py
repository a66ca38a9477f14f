"""What Prometheus is told: parsed with its own client, compared with what is remembered."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import orjson
from prometheus_client.parser import text_string_to_metric_families

from scaler import answers
from scaler.errors import TryNextTick
from scaler.exposition import FAMILIES, PREFIX, ShardView, exposition
from tests.documented import ROOT, names, section
from tests.scaler.builders import NOW, memory, shard_memory
from tests.scaler.worlds import SHARD, install, run

Told = dict[tuple[str, frozenset[tuple[str, str]]], float]


def told(text: str) -> Told:
    """Every sample as the client reads it; one that is told twice is a fault."""
    found: Told = {}
    for family in text_string_to_metric_families(text):
        assert (family.type, family.name.startswith(PREFIX)) == ("gauge", True)
        for sample in family.samples:
            key = (sample.name.removeprefix(PREFIX), frozenset(sample.labels.items()))
            assert key not in found
            found[key] = sample.value
    return found


def of(found: Told, family: str, **labels: str) -> float | None:
    """One sample of the shard `a`, or of the one that is named."""
    return found.get((family, frozenset({"shard": "a", **labels}.items())))


async def test_a_ticking_shard_is_told_as_its_tables_have_it():
    """Fleet, demand, refusals, ages and tick seconds are those of the rows, read by the official parser."""
    it = install()
    await run(it, 3)
    it.world.advance(20)
    found = told(await answers.metrics(it.engine))
    (record,) = await it.store.decisions(SHARD, it.world.now, 1)
    totals: Mapping[str, float] = record["totals"]
    assert of(found, "tables_up", shard=SHARD) == 1
    assert of(found, "last_tick_age_seconds", shard=SHARD) == 20
    assert of(found, "bridges", shard=SHARD, phase="ready") == 2
    assert of(found, "bridges", shard=SHARD, phase="failed") == 0
    assert of(found, "bridges_healthy", shard=SHARD) == totals["healthy"] == 2
    assert of(found, "demand", shard=SHARD) == totals["demand"]
    assert of(found, "tick_seconds", shard=SHARD) is not None
    assert of(found, "poll_seconds", shard=SHARD) is not None
    for refusal in record["refusals"]:
        assert of(found, "refusals", shard=SHARD, reason=refusal["reason"])
        assert of(found, "refusal_age_seconds", shard=SHARD, reason=refusal["reason"]) is not None


async def test_unreadable_tables_are_said_and_nothing_is_made_up():
    """The one sample of such a shard is that its tables are down."""

    def down(_call: str, **_details: object) -> None:
        raise TryNextTick("down")

    it = install()
    await run(it, 1)
    it.store.tap.before = down
    found = told(await answers.metrics(it.engine))
    assert found == {("tables_up", frozenset({("shard", SHARD)})): 0}


def test_what_is_unknown_has_no_sample():
    """A pressure or an age that nobody knows is left out; so are the zeros of a tick that held still."""
    lost = memory("b", pressure=None, time_created=None)
    record = {"totals": {"healthy": 0, "maximum": 0}, "refusals": [{"reason": "arm_unknown"}]}
    found = told(exposition([ShardView("a", shard_memory(last_tick_at=None), (lost,), record)], NOW))
    told_families = {family for family, _ in found}
    assert not told_families & {"bridge_pressure", "bridge_age_seconds", "bridges_healthy"}
    assert not told_families & {"last_tick_age_seconds", "refusal_age_seconds", "tick_seconds"}
    assert of(found, "refusals", reason="arm_unknown") == 1
    assert told(exposition([ShardView("a")], NOW)) == {("tables_up", frozenset({("shard", "a")})): 1}


def test_the_oldest_of_a_kind_gives_its_age():
    """Alerts and refusals are counted by kind, and the oldest of each tells since when."""
    since = {"sick:x": NOW - timedelta(minutes=9), "sick:y": NOW - timedelta(minutes=2)}
    refusals = [
        {"reason": "too_young", "since": "2026-01-01T00:00:00.000Z"},
        {"reason": "too_young", "since": "2025-12-31T00:00:00.000Z"},
    ]
    actions = [{"do": "drain", "done": True}, {"do": "drain", "done": False}]
    record = {"totals": {"maximum": 3, "capacity": None}, "refusals": refusals, "actions": actions}
    found = told(exposition([ShardView("a", shard_memory(alerts=since), (), record)], NOW))
    assert of(found, "alerts", kind="sick") == 2
    assert of(found, "alert_age_seconds", kind="sick") == 540
    assert of(found, "refusals", reason="too_young") == 2
    assert of(found, "actions", action="drain", done="false") == 1
    assert of(found, "bridges_maximum") == 3
    assert of(found, "capacity") is None


def test_names_of_others_cannot_break_the_format():
    """Quotes, backslashes and line ends in a name come back as they were."""
    name = 'a"b\\c\nd{}'
    found = told(exposition([ShardView("a", shard_memory(), (memory(name, pressure=0.5),))], NOW))
    assert of(found, "bridge_pressure", bridge=memory(name).name, vm_id=memory(name).vm_id) == 0.5


def test_every_family_and_every_alert_is_documented():
    """docs/metrics.md has a row for each family, and a query for each kind of alert."""
    rows = [line for line in section("docs/metrics.md", "Families").splitlines() if line.startswith("| `")]
    told_rows = {row.split("|")[1].strip(" `"): row.split("|")[3].strip() for row in rows}
    assert told_rows == FAMILIES
    kinds = orjson.loads((ROOT / "infra/modules/monitoring/alert_kinds.json").read_bytes())
    text = section("docs/metrics.md", "Alerts")
    assert {kind for kind in kinds if f"| `{kind}` | `{PREFIX}" in text} == set(kinds)
    assert names(text)
