"""Answers as a person reads them in a terminal: tables, colours where there are any, plain in a pipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

Json = Mapping[str, Any]

_STYLES = {
    "ready": "green",
    "booting": "cyan",
    "draining": "yellow",
    "fenced": "magenta",
    "deleting": "red",
    "failed": "bold red",
}
_STATES = {"done": "green", "in_force": "yellow", "open": "cyan", "failed": "red", "expired": "dim"}


def ago(moment: str | None, now: str | None) -> str:
    """Say how long ago a moment was, as `3 m` or `2 h 5 m`; a dash where it is not known."""
    if not moment or not now:
        return "-"
    return _lasting((datetime.fromisoformat(now) - datetime.fromisoformat(moment)).total_seconds())


def ahead(moment: str | None, now: str) -> str:
    """Say how far ahead a moment is, as `in 2 h 5 m`; a dash where there is none."""
    if not moment:
        return "-"
    return f"in {_lasting((datetime.fromisoformat(moment) - datetime.fromisoformat(now)).total_seconds())}"


def _lasting(seconds: float) -> str:
    minutes = int(seconds // 60)
    hours, rest = divmod(max(minutes, 0), 60)
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if days else f"{hours} h {rest} m" if hours else f"{rest} m"


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for number, column in enumerate(columns):
        # The first is what is copied into the next command: it stays in one piece.
        table.add_column(column, overflow="fold", no_wrap=number == 0)
    return table


def _text(value: Any, style: str = "") -> Text:
    """Text of the app, never taken for markup: a bridge may be called anything."""
    return Text("-" if value in (None, "") else str(value), style=style)


def configuration(console: Console, answer: Json) -> bool:
    """Say what is wrong with the configuration; return whether it is valid."""
    told = answer.get("configuration") or {"valid": True}
    if told["valid"]:
        return True
    console.print(Text("The configuration is invalid, so nothing is done anywhere:", style="bold red"))
    for fault in told["faults"]:
        console.print(_text(f"  {fault}"))
    return False


def status(console: Console, answer: Json) -> None:
    """Each shard: one line on the whole, its bridges, what is wrong, what operators asked for."""
    for shard in answer["shards"]:
        _shard(console, shard, answer)


def _shard(console: Console, shard: Json, answer: Json) -> None:
    now = answer["at"]
    console.print(_text(shard["shard"], "bold"), Text(_state_of(shard, answer), style="yellow"))
    if "error" in shard:
        console.print(_text(f"  {shard['error']}", "red"))
        return
    totals = shard["totals"]
    if totals:
        console.print(
            _text(
                f"  {totals['accepting']} accept calls of {totals['listed']} machines "
                f"(minimum {totals['minimum']}, maximum {totals['maximum']}); "
                f"{totals['conferences']} conferences, {totals['participants']} people, "
                f"{totals['out_mbps']:g} Mbit/s out; demand {totals['demand']:g} bridges"
            )
        )
    console.print(_text(f"  {shard['sentence']}"))
    console.print(_text(f"  last tick {ago(shard['last_tick_at'], now)} ago", "dim"))
    _night(console, shard.get("night"))
    table = _table("bridge", "phase", "up", "pressure", "polls", "why it stays")
    for bridge in shard["bridges"]:
        phase = f"{bridge['phase']} ({bridge['purpose']})" if bridge["purpose"] else bridge["phase"]
        table.add_row(
            _text(bridge["name"]),
            _text(phase, _STYLES.get(bridge["phase"], "")),
            _text(ago(bridge["created"], now)),
            _text(None if bridge["pressure"] is None else f"{bridge['pressure']:.2f}"),
            _text(bridge["polls"]),
            _text(f"{bridge['why']} ({ago(bridge['why_since'], now)})" if bridge["why"] else None),
        )
    console.print(table)
    for alert in shard["alerts"]:
        console.print(_text(f"  ALERT {alert['key']}, since {ago(alert['since'], now)}", "bold red"))
    commands(console, [c for c in shard["commands"] if c["state"] in ("open", "in_force")], now)
    console.print()


def _state_of(shard: Json, answer: Json) -> str:
    dry = "dry run" if answer.get("dry_run") else ""
    paused = f"paused: {shard.get('pause_reason') or 'no reason given'}" if shard.get("paused") else ""
    return ", ".join(part for part in (dry, paused) if part)


def _night(console: Console, night: Json | None) -> None:
    """The night's progress: how many are left, the canary's verdict, what it waits for, how it ended."""
    if not night:
        return
    said = [f"{night['outdated']} of {night['of']} to be replaced"]
    if night["canary"]:
        said.append(f"canary {night['canary']['verdict']}")
    if night["waits_for"]:
        said.append(f"waits for {night['waits_for']}")
    said += [str(night[key]) for key in ("outcome", "warning") if night[key]]
    console.print(_text(f"  night of {night['date']}: {'; '.join(said)}"))


def commands(console: Console, rows: Sequence[Json], now: str) -> None:
    """A table of commands, newest first."""
    if not rows:
        return
    table = _table("id", "what", "state", "by", "given", "ends", "outcome")
    for row in rows:
        table.add_row(
            _text(row["command_id"]),
            _text(what(row)),
            _text(row["state"], _STATES.get(row["state"], "")),
            _text(f"{row['by']}: {row['why']}"),
            _text(f"{ago(row['asked_at'], now)} ago"),
            _text(ahead(row.get("expires_at"), now) if row["state"] in ("open", "in_force") else None),
            _text(row.get("outcome")),
        )
    console.print(table)


def what(row: Json) -> str:
    """A command in a few words."""
    of = row.get("bridge") or row.get("image_version") or row.get("target")
    if row["kind"] != "floor":
        return f"{row['kind']} {of}" if of else str(row["kind"])
    days = ",".join(row.get("days", ())) or "daily"
    window = (
        f" {row['from_time']}-{row['until_time']} {days} {row['time_zone']}" if row.get("from_time") else ""
    )
    return f"floor {row['minimum']}{window}"


def ordered(console: Console, answer: Json) -> None:
    """What became of a command that was just sent."""
    command, tick = answer["command"], answer["tick"]
    style = _STATES.get(command["state"], "")
    console.print(_text(f"{what(command)}: {command['state']}", style), _text(command.get("outcome") or ""))
    if command["state"] == "open":
        words = {
            "lease held": "another run holds the shard's lease; the next tick takes it up",
            "too soon": "a tick ran a moment ago; the next one takes it up",
        }
        console.print(_text(f"  {words.get(tick['result'], tick['sentence'])}", "dim"))
    console.print(_text(f"  id {command['command_id']}", "dim"))


def explained(console: Console, answer: Json) -> None:
    """Why each shard and bridge is as it is."""
    for shard in answer["shards"]:
        console.print(Text(shard["shard"], style="bold"), _text(shard["sentence"]))
        for vote in shard["votes"]:
            console.print(_text(f"  {vote['rule']} wants {vote['wants']}: {vote['because']}"))
        for no in shard["not_done"]:
            name = f"{no['name']}: " if no.get("name") else ""
            console.print(
                _text(f"  not done: {name}{no['meaning']} ({no['detail']}), since {no['since']}", "yellow")
            )
            console.print(_text(f"    {no['way_out']}", "dim"))
        for bridge in shard["bridges"]:
            console.print(_text(f"  {bridge['name']}"), _text(bridge["why"]))
            if bridge["way_out"]:
                console.print(_text(f"    {bridge['way_out']}", "dim"))


def planned(console: Console, answer: Json) -> None:
    """What a tick would do now."""
    for shard in answer["shards"]:
        console.print(Text(shard["shard"], style="bold"), _text(shard["sentence"]))
        decision = shard["decision"] or {}
        for action in decision.get("actions", ()):
            console.print(
                _text(f"  would {action['do']} {action.get('name', '')}: {action['because']}", "cyan")
            )
        for vote in decision.get("votes", ()):
            console.print(_text(f"  {vote['rule']} wants {vote['wants']}: {vote['because']}", "dim"))


def examined(console: Console, answer: Json) -> bool:
    """The first broken link of each bridge; return whether all is well."""
    well = True
    for shard in answer["shards"]:
        console.print(Text(shard["shard"], style="bold"), _text(shard["error"] or "", "bold red"))
        well = well and not shard["error"]
        table = _table("bridge", "phase", "first broken link", "what is wrong", "what to do")
        for bridge in shard["bridges"]:
            broken = bridge["first_broken"]
            well = well and broken is None
            table.add_row(
                _text(bridge["name"]),
                _text(bridge["phase"]),
                _text(broken or "none: it takes calls", "red" if broken else "green"),
                _text(bridge["detail"]),
                _text(bridge["fix"]),
            )
        console.print(table)
    return well


def inspected(console: Console, answer: Json) -> None:
    """What preflight found, one line each with its fix below it."""
    for shard in answer["shards"]:
        console.print(Text(shard["shard"], style="bold"))
        for found in shard["findings"]:
            style = "bold red" if found["verdict"] == "missing" else "yellow"
            console.print(
                _text(f"  {found['verdict']:<8}", style),
                _text(f"{found['area']} {found['what']}:"),
                _text(found["detail"]),
                soft_wrap=True,
            )
            console.print(_text("           fix:", "dim"), _text(found["fix"]), soft_wrap=True)
        if not shard["findings"]:
            console.print(_text("  nothing is missing", "green"))


def event(console: Console, row: Json) -> None:
    """One event on a line."""
    style = "bold red" if row["kind"] == "alert" else ""
    console.print(
        _text(row["at"], "dim"),
        _text(f"{row['shard']} {row['kind']} {row['subject']}:", style),
        _text(row["text"]),
        soft_wrap=True,
    )


def _rounded(value: Any) -> Any:
    return f"{value:.1f}" if isinstance(value, float) else value


USAGE = (
    "at",
    "shard",
    "listed",
    "accepting",
    "draining",
    "wanted",
    "demand",
    "conferences",
    "participants",
    "out_mbps",
)
"""What fits a terminal; JSON and CSV have everything."""
DAYS = (
    "day",
    "shard",
    "coverage",
    "bridge_hours",
    "bridges_peak",
    "conference_hours",
    "egress_gb",
    "cost",
    "currency",
    "saving",
)
"""Of a day, what fits."""


def rows(console: Console, found: Sequence[Json], columns: Sequence[str]) -> None:
    """Rows as a table of these columns."""
    if not found:
        console.print("Nothing was recorded in this time.")
        return
    table = _table(*columns)
    for row in found:
        # Without its seconds and its T a moment fits a narrow terminal.
        at = str(row[columns[0]])[:16].replace("T", " ")
        table.add_row(at, *(_text(_rounded(row.get(name))) for name in columns[1:]))
    console.print(table)
