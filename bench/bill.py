"""
What the autoscaler itself costs a month, from what was counted: `docs/cost.md`.

Only arithmetic: the figures come from the cases of `make bench`, the prices stand here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bench.timing import Figures
from colibri.client import CONNECT_SECONDS
from scaler.policy import KNOBS

MINUTES = 43_200
"""Of a month of 30 days: ticks, and scrapes."""
NIGHTLY = MINUTES // 15
HOURS, DAYS = MINUTES // 60, MINUTES // 1440
MEMORY_GB = 0.5
CORES = 0.25
"""What an instance of 512 MB has: CPU seconds take four times as long there."""
DEPLOYED_GB, DEPLOYED_MB, DEPLOYED_CORES = 2.0, "2,048", 1.0
"""What `infra/` deploys, since nobody has yet seen how fast the app starts on a quarter of a core."""
DEAD_S = CONNECT_SECONDS
"""What one bridge whose machine takes no connection makes every poll wait."""
HUNG_S = 3.0
"""And one that takes the connection and never answers: until the deadline of the poll."""
CALL_S = 0.01
"""One operation on a table, as it is waited for. Assumed."""
ARM_S = 0.5
"""The list of the machines, as it is waited for. Assumed."""
TABLE_WAITS = 6
"""Operations of a tick that come one behind the other."""
SHORTEST_S = 1.0
"""An execution is billed as one second at least."""

FREE_EXECUTIONS, PRICE_OF_A_MILLION = 250_000, 0.40
FREE_GB_S, PRICE_OF_A_GB_S = 100_000, 0.000026
PRICE_OF_10_000_TABLE_OPERATIONS = 0.00036
PRICE_OF_A_GB_MONTH = 0.045
FREE_METRIC_CALLS, PRICE_OF_1_000_METRIC_CALLS = 1_000_000, 0.01

DAYS_KEPT: int = KNOBS["retention_days"].default

FLEETS = (5, 50, 500)


@dataclass(frozen=True, slots=True)
class Month:
    """What one shard uses in a month."""

    bridges: int
    tick_seconds: float
    executions: int
    gb_s: float
    table_operations: float
    stored_gb: float
    """Of usage, with the default retention."""
    metric_calls: float

    @property
    def dollars(self) -> float:
        """Above the free grant."""
        return (
            max(0, self.executions - FREE_EXECUTIONS) / 1e6 * PRICE_OF_A_MILLION
            + max(0.0, self.gb_s - FREE_GB_S) * PRICE_OF_A_GB_S
            + self.table_operations / 10_000 * PRICE_OF_10_000_TABLE_OPERATIONS
            + self.stored_gb * PRICE_OF_A_GB_MONTH
            + max(0.0, self.metric_calls - FREE_METRIC_CALLS) / 1_000 * PRICE_OF_1_000_METRIC_CALLS
        )

    @property
    def fits(self) -> bool:
        """Within the free grant of executions and GB-seconds."""
        return self.executions <= FREE_EXECUTIONS and self.gb_s <= FREE_GB_S


def month(
    bridges: int,
    tick: Figures,
    usage: Figures,
    memory_gb: float = MEMORY_GB,
    cores: float = CORES,
    poll_s: float = DEAD_S,
) -> Month:
    """Reckon a month from one steady tick and one day of usage (`bench.cases.tick`, `usage`)."""
    waits_s = poll_s + ARM_S + TABLE_WAITS * CALL_S
    seconds = max(SHORTEST_S, waits_s + tick["tick_s"] / cores)
    ticks = MINUTES + NIGHTLY
    return Month(
        bridges=bridges,
        tick_seconds=seconds,
        executions=ticks + MINUTES,
        gb_s=(ticks * seconds + MINUTES * SHORTEST_S + usage_seconds(usage, cores)) * memory_gb,
        # A scrape reads the rows of the shard: the four queries of a load.
        table_operations=ticks * _mean_calls(tick) + MINUTES * 4 + usage_operations(usage),
        stored_gb=usage["mb_a_day"] * DAYS_KEPT / 1000,
        metric_calls=ticks * tick["calls_monitor"],
    )


def _mean_calls(tick: Figures) -> float:
    """Operations on tables of a tick: of five, one reads all rows."""
    return (4 * tick["calls_tables"] + tick["calls_tables_all"]) / 5


def usage_operations(usage: Figures) -> float:
    """Of a month: what is reckoned each hour and each day, and the runs between that find nothing to do."""
    return (
        HOURS * usage["calls_an_hour"] + DAYS * usage["calls_a_day"] + (NIGHTLY - HOURS) * usage["calls_idle"]
    )


def usage_seconds(usage: Figures, cores: float = CORES) -> float:
    """Of a month, behind the ticks of the same executions."""
    return HOURS * usage["hour_s"] / cores + usage_operations(usage) * CALL_S


def cost_page(measured: Mapping[str, Figures]) -> str:
    """The page, as Markdown."""
    months = [month(n, measured[f"tick_{n}"], measured[f"usage_{n}"]) for n in FLEETS]
    usages = {n: measured[f"usage_{n}"] for n in FLEETS}
    hung = [month(n, measured[f"tick_{n}"], usages[n], poll_s=HUNG_S) for n in FLEETS]
    deployed = [month(n, measured[f"tick_{n}"], usages[n], DEPLOYED_GB, DEPLOYED_CORES) for n in FLEETS]
    return _PAGE.format(
        hung="\n".join(_short_row(each) for each in hung),
        deployed="\n".join(_short_row(each) for each in deployed),
        rows="\n".join(_row(each) for each in months),
        usage="\n".join(_usage_row(n, each) for n, each in usages.items()),
    )


def _usage_row(bridges: int, usage: Figures) -> str:
    operations = usage_operations(usage)
    stored_gb = usage["mb_a_day"] * DAYS_KEPT / 1000
    cells = (
        f"{bridges}",
        f"{usage['calls_an_hour']:.0f}",
        f"{usage['calls_a_day']:.0f}",
        f"{operations:,.0f}",
        f"${operations / 10_000 * PRICE_OF_10_000_TABLE_OPERATIONS:.4f}",
        f"{usage['mb_a_day']:.1f} MB",
        f"{stored_gb:.2f} GB",
        f"${stored_gb * PRICE_OF_A_GB_MONTH:.2f}",
    )
    return "| " + " | ".join(cells) + " |"


def _short_row(month: Month) -> str:
    cells = (f"{month.bridges}", f"{month.tick_seconds:.1f} s", f"{month.gb_s:,.0f}", f"${month.dollars:.2f}")
    return "| " + " | ".join((*cells, _grant(month))) + " |"


def _grant(month: Month) -> str:
    return "fits" if month.fits else "passed"


def _row(month: Month) -> str:
    cells = (
        f"{month.bridges}",
        f"{month.tick_seconds:.1f} s",
        f"{month.executions:,}",
        f"{month.gb_s:,.0f}",
        f"{month.table_operations:,.0f}",
        f"{month.metric_calls:,.0f}",
        f"${month.dollars:.2f}",
        _grant(month),
    )
    return "| " + " | ".join(cells) + " |"


_PAGE = f"""# What the autoscaler itself costs

Written by `make bench` from what it counted. One shard on a Flex Consumption instance of 512 MB: a tick every
minute, the timer of the night every quarter of an hour, one scrape a minute, and one dead machine: every poll
waits {DEAD_S:g} s for a connection to it. CPU is reckoned at {CORES:g} of a core, the answer of ARM at
{ARM_S:g} s and each of the {TABLE_WAITS} operations on tables that come one behind the other at
{CALL_S * 1000:g} ms: assumptions, to be held against `tick_seconds` of your own records.

| bridges | a tick takes | executions | GB-seconds | table operations | metric calls | a month | free grant |
| ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |
{{rows}}

The same with a JVB that hangs for the whole month: it takes the connection and never answers, so every poll
waits for its deadline of {HUNG_S:g} s.

| bridges | a tick takes | GB-seconds | a month | free grant |
| ---: | ---: | ---: | ---: | --- |
{{hung}}

`infra/` deploys {DEPLOYED_MB} MB, until somebody has seen how fast the app starts on less
(`instance_memory_mb`). An execution mostly waits, so it costs almost four times as much there, though CPU is
reckoned at a whole core:

| bridges | a tick takes | GB-seconds | a month | free grant |
| ---: | ---: | ---: | ---: | --- |
{{deployed}}

## Usage

Of that, the tables of usage. Each minute's row is written anyway; what follows is what is reckoned from it,
beside the ticks: each hour the rows of its machines, each day its row, and what is too old is deleted. The
other runs of the quarter of an hour find nothing to do, and read one row. Kept for {DAYS_KEPT} days, the
default of `retention_days`.

| bridges | operations an hour | and a day | a month | cost | rows of a day | kept | cost a month |
| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
{{usage}}

## Prices

US list prices, without tax: those of Functions as of May 2025 in East US, the others assumed and not
looked up. Look up those of your region before you rely on them.

- Executions: ${PRICE_OF_A_MILLION:.2f} a million after {FREE_EXECUTIONS:,} free ones a month.
- Memory and time: ${PRICE_OF_A_GB_S:.6f} a GB-second after {FREE_GB_S:,} free ones; an execution counts as
  {SHORTEST_S:g} s at least. Both grants are of a subscription.
- Table storage: ${PRICE_OF_10_000_TABLE_OPERATIONS} for 10,000 operations; a transaction of up to 100 rows is
  reckoned as one.
- Rows that are kept: ${PRICE_OF_A_GB_MONTH} for a GB and month.
- Azure Monitor: {FREE_METRIC_CALLS:,} metric calls a month are free, then
  ${PRICE_OF_1_000_METRIC_CALLS} for 1,000.

Not in it: Application Insights (a log line and a request a tick lie under its 5 free GB), the rows of
decisions and events, a few MB a day, and the virtual network, which costs nothing by itself.
"""
