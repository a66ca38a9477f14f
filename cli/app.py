"""`jvb-autoscaler`: what operators ask and command, from a terminal or a script."""

from __future__ import annotations

import getpass
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any, TypeVar

import click
import httpx
from rich.console import Console

from cli import show
from cli.client import App, Exit, Failed
from cli.words import DAY_LIST, DURATION

F = TypeVar("F", bound=Callable[..., Any])

FOLLOW_EVERY_S = 5.0
WAIT_EVERY_S = 3.0

HELP = """
Ask the autoscaler of your Jitsi Videobridges what it does and why, and tell it what to do.

It speaks HTTP to the function app only, the same to Azure and to the sandbox (`make serve`). Say where
it is and with which key once:

\b
  export JVB_AUTOSCALER_URL=https://<app>.azurewebsites.net
  export JVB_AUTOSCALER_KEY=<function or host key>
  export JVB_AUTOSCALER_COMMAND_KEY=<key of `commands`, where it is another one>

Then begin with `status`; `explain` says why; `doctor` finds what is broken; `plan` shows the next step.
Every command takes --help, and --json for programs.

\b
Exit codes: 0 done, 1 bad news (a broken link, a failed command, an invalid configuration), 2 wrong usage,
3 not permitted (key, sign-in), 4 not reachable, 5 refused (a name or value that the app does not take),
6 a command is written but not carried out yet.
"""


@dataclass
class Session:
    """What holds for one run of the command line."""

    url: str | None
    key: str | None
    command_key: str | None
    token: str | None = None
    as_json: bool = False
    transport: httpx.BaseTransport | None = None

    @property
    def console(self) -> Console:
        """Standard output."""
        return Console(highlight=False, soft_wrap=not sys.stdout.isatty())

    def app(self) -> App:
        """The app that is asked. Raises `Failed` where nobody said which."""
        if not self.url:
            hint = "export JVB_AUTOSCALER_URL=https://<app>.azurewebsites.net; `make serve` has one to try"
            raise Failed(Exit.USAGE, "which app? no URL is given", hint)
        app = App(self.url, self.key, self.command_key, self.token, self.transport)
        click.get_current_context().call_on_close(app.close)
        return app

    def tell(self, answer: Any, shown: Callable[[Console, Any], Any]) -> None:
        """Print an answer for a program, or for a person."""
        if self.as_json:
            click.echo(json.dumps(answer, indent=2))
        else:
            shown(self.console, answer)


def _status(console: Console, answer: Any) -> None:
    if show.configuration(console, answer):
        show.status(console, answer)


def _set(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def put(ctx: click.Context, _param: click.Parameter, value: Any) -> None:
        if value:
            setattr(ctx.obj, name, value)

    return put


def asks(command: F) -> F:
    """Options that every command takes, besides the group: people type them last."""
    for option in (
        click.option(
            "--json",
            "as_json",
            is_flag=True,
            expose_value=False,
            callback=_set("as_json"),
            help="JSON for programs.",
        ),
        click.option(
            "--key", expose_value=False, callback=_set("key"), help="Key, instead of $JVB_AUTOSCALER_KEY."
        ),
        click.option(
            "--url", expose_value=False, callback=_set("url"), help="The app, instead of $JVB_AUTOSCALER_URL."
        ),
    ):
        command = option(command)
    return click.pass_obj(command)  # type: ignore[return-value]


def orders(command: F) -> F:
    """Options of whatever changes something: who, why, and whether to wait for it."""
    for option in (
        click.option(
            "--wait", type=click.IntRange(1, 3600), metavar="SECONDS", help="Wait until it is carried out."
        ),
        click.option("--shard", help="The shard, where there are several."),
        click.option(
            "--by",
            envvar="JVB_AUTOSCALER_BY",
            default=getpass.getuser,
            show_default="you",
            help="Who you are.",
        ),
        click.option(
            "--why", required=True, help="Your reason, in one line: who is on call next will read it."
        ),
    ):
        command = option(command)
    return asks(command)


@click.group(help=HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--url", envvar="JVB_AUTOSCALER_URL", help="The app: https://<app>.azurewebsites.net")
@click.option("--key", envvar="JVB_AUTOSCALER_KEY", help="Function key or host key.")
@click.option(
    "--command-key", envvar="JVB_AUTOSCALER_COMMAND_KEY", help="Key of `commands`, where it is another."
)
@click.option("--token", envvar="JVB_AUTOSCALER_TOKEN", help="Bearer token, where the app's sign-in is on.")
@click.option("--json", "as_json", is_flag=True, help="JSON for programs.")
@click.pass_context
def cli(ctx: click.Context, /, **given: Any) -> None:
    """See `HELP`."""
    transport = ctx.obj if isinstance(ctx.obj, httpx.BaseTransport) else None
    ctx.obj = Session(**given, transport=transport)


# --- asking ---------------------------------------------------------------------------------


@cli.command()
@click.option("--csv", is_flag=True, help="The bridges as CSV (RFC 4180), for a spreadsheet.")
@asks
def status(session: Session, csv: bool) -> None:
    """Every shard as its last tick left it: bridges, why they stay, alerts, open commands."""
    if csv:
        click.echo(session.app().text("status", format="csv"), nl=False)
        return
    answer = session.app().get("status")
    session.tell(answer, _status)
    if not answer["configuration"]["valid"]:
        raise SystemExit(Exit.TROUBLE)


@cli.command()
@click.argument("bridge", required=False)
@click.option("--shard", help="Only this shard.")
@asks
def explain(session: Session, bridge: str | None, shard: str | None) -> None:
    """Why it is as it is, and since when: everything, or one BRIDGE by name or vmId."""
    session.tell(session.app().get("explain", bridge=bridge, shard=shard), show.explained)


@cli.command()
@click.option("--shard", help="Only this shard.")
@asks
def plan(session: Session, shard: str | None) -> None:
    """What a tick would do now: it looks and decides, and changes nothing."""
    session.tell(session.app().get("plan", shard=shard), show.planned)


@cli.command()
@click.option("--shard", help="Only this shard.")
@asks
def doctor(session: Session, shard: str | None) -> None:
    """The first broken link of each bridge, looked at now. Exit code 1 where there is one."""
    answer = session.app().get("doctor", shard=shard)
    session.tell(answer, show.examined)
    if any(s["error"] or any(b["first_broken"] for b in s["bridges"]) for s in answer["shards"]):
        raise SystemExit(Exit.TROUBLE)


@cli.command()
@click.option("--shard", help="Only this shard.")
@asks
def preflight(session: Session, shard: str | None) -> None:
    """
    What is missing before the app can work: rights, quota, addresses, settings, endpoints, each with its fix.

    The app looks with its own identity, and changes nothing. Exit code 1 where something is missing;
    what could not be learnt is shown and does not count.
    """
    answer = session.app().get("preflight", shard=shard)
    session.tell(answer, show.inspected)
    if not answer["ready"]:
        raise SystemExit(Exit.TROUBLE)


@cli.command()
@click.option("--follow", "-f", is_flag=True, help="Go on until Ctrl-C.")
@click.option("--since", help="ISO time with its zone, as 2026-03-04T12:00:00Z.")
@click.option("--shard", help="Only this shard.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@asks
def events(session: Session, follow: bool, since: str | None, shard: str | None, limit: int) -> None:
    """What happened, oldest first; with --json one event a line."""
    app, console = session.app(), session.console
    while True:
        answer = app.get("events", since=since, shard=shard, limit=str(limit))
        for row in answer["events"]:
            if session.as_json:
                click.echo(json.dumps(row))
            else:
                show.event(console, row)
        if not follow:
            return
        since = answer["next_since"] or since
        time.sleep(FOLLOW_EVERY_S)


@cli.command()
@click.option("--every", type=click.FloatRange(1, 600), default=5.0, show_default=True, metavar="SECONDS")
@click.option("--times", type=click.IntRange(1), hidden=True, help="Stop after so many looks.")
@asks
def watch(session: Session, every: float, times: int | None) -> None:
    """Status, drawn again every few seconds: for the night, or while a command is carried out."""
    app, console, looks = session.app(), session.console, 0
    while times is None or looks < times:
        looks += 1
        answer = app.get("status")
        if console.is_terminal:
            console.clear()
        session.tell(answer, _status)
        if looks != times:
            time.sleep(every)


@cli.command()
@click.option("--day", type=click.DateTime(["%Y-%m-%d"]), help="A UTC day; without it today.")
@click.option("--until", type=click.DateTime(["%Y-%m-%d"]), help="The last day, for several.")
@click.option("--shard", help="Only this shard.")
@click.option(
    "--step",
    type=click.Choice(["1", "5", "15", "60", "day"]),
    default="60",
    show_default=True,
    help="Minutes a row, or whole days.",
)
@click.option("--csv", is_flag=True, help="CSV (RFC 4180), for a spreadsheet.")
@asks
def report(
    session: Session, day: date | None, until: date | None, shard: str | None, step: str, csv: bool
) -> None:
    """Usage of a day or several: bridges, conferences, people, traffic and demand."""
    app = session.app()
    first = day or date.fromisoformat(str(app.get("status")["at"])[:10])
    asked = {"from": f"{first:%Y-%m-%d}", "to": f"{until or first:%Y-%m-%d}", "shard": shard, "step": step}
    if csv:
        click.echo(app.text("usage", format="csv", **asked), nl=False)
        return
    answer = app.get("usage", **asked)
    columns = show.DAYS if step == "day" else show.USAGE
    session.tell(answer, lambda console, told: show.rows(console, told["rows"], columns))


# --- commanding -----------------------------------------------------------------------------


def _order(session: Session, kind: str, wait: int | None = None, **fields: Any) -> None:
    """Send one command, show what came of it, and end with the exit code that says so."""
    app = session.app()
    answer = app.command({"kind": kind, **{key: value for key, value in fields.items() if value is not None}})
    if wait:
        answer = _waited(app, answer, wait)
    session.tell(answer, show.ordered)
    code = {"open": Exit.WAITING, "done": Exit.OK, "in_force": Exit.OK}
    raise SystemExit(code.get(answer["command"]["state"], Exit.TROUBLE))


def _waited(app: App, answer: Any, seconds: int) -> Any:
    deadline = time.monotonic() + seconds
    while answer["command"]["state"] == "open" and time.monotonic() < deadline:
        time.sleep(WAIT_EVERY_S)
        rows = [
            c for s in app.get("status")["shards"] if s["shard"] == answer["shard"] for c in s["commands"]
        ]
        now = next((c for c in rows if c["command_id"] == answer["command"]["command_id"]), None)
        answer = {**answer, "command": now or answer["command"]}
    return answer


@cli.command()
@click.argument("bridge")
@orders
def drain(session: Session, bridge: str, **who: Any) -> None:
    """
    Let BRIDGE take no new conferences; it keeps its calls, and drains until `undrain`.

    The app neither removes a bridge that you drained nor takes your drain back. Another bridge has to
    accept calls; until one does, the command waits (for an hour).
    """
    _order(session, "drain", bridge=bridge, **who)


@cli.command()
@click.argument("bridge")
@orders
def undrain(session: Session, bridge: str, **who: Any) -> None:
    """Let BRIDGE take conferences again, whoever drained it."""
    _order(session, "undrain", bridge=bridge, **who)


@cli.command()
@click.argument("bridge")
@click.option("--for", "for_minutes", type=DURATION, required=True, help="How long: 90m, 2h, 1d.")
@orders
def protect(session: Session, bridge: str, **who: Any) -> None:
    """
    Keep BRIDGE for a time: it is neither drained nor removed.

    On the oldest bridge this freezes scale-in, since nobody younger goes before it; the answer says so.
    """
    _order(session, "protect", bridge=bridge, **who)


@cli.command()
@click.option("--for", "for_minutes", type=DURATION, help="How long; without it until `resume`.")
@orders
def pause(session: Session, **who: Any) -> None:
    """Stop all rules of a shard: drains are taken back, what is fenced is finished, nothing is started."""
    _order(session, "pause", **who)


@cli.command()
@orders
def resume(session: Session, **who: Any) -> None:
    """End a pause: the rules of the shard go on from what they then see."""
    _order(session, "resume", **who)


@cli.group()
def floor() -> None:
    """A higher minimum, for a time or in hours of certain days."""


FLOOR_HELP = """
Keep at least MINIMUM bridges.

\b
  floor set 4 --from 08:30 --until 18:00 --days mon-fri --time-zone Europe/Berlin --why "school"
  floor set 6 --for 3h --why "all-hands"

The highest of all floors and `min_bridges` holds. A machine takes minutes to boot: begin early.
"""


@floor.command("set", help=FLOOR_HELP)
@click.argument("minimum", type=click.IntRange(1, 1000))
@click.option("--from", "begins", metavar="HH:MM", help="Local time at which it begins.")
@click.option("--until", metavar="HH:MM", help="Local time at which it ends; may be past midnight.")
@click.option("--days", type=DAY_LIST, help="mon-fri, sat,sun, daily; without it daily.")
@click.option("--time-zone", help="IANA name, as Europe/Berlin.")
@click.option("--for", "for_minutes", type=DURATION, help="How long it stays at all: 4h, 14d.")
@orders
def floor_set(session: Session, begins: str | None, **rest: Any) -> None:
    """See `FLOOR_HELP`."""
    _order(session, "floor", **{**rest, "from": begins})


@floor.command("list")
@click.option("--shard", help="Only this shard.")
@asks
def floor_list(session: Session, shard: str | None) -> None:
    """Floors that are set, with the id that `clear` takes."""
    _list(session, shard, lambda row: row["kind"] == "floor" and row["state"] in ("open", "in_force"))


@floor.command("clear")
@click.argument("command_id")
@orders
def floor_clear(session: Session, command_id: str, **who: Any) -> None:
    """End the floor with this id; `floor list` shows it."""
    _order(session, "cancel", cancel=command_id, **who)


@cli.command()
@click.argument("command_id")
@orders
def cancel(session: Session, command_id: str, **who: Any) -> None:
    """End any open command: a protection, a pause, a floor, or one that still waits."""
    _order(session, "cancel", cancel=command_id, **who)


@cli.command()
@click.option("--shard", help="Only this shard.")
@asks
def commands(session: Session, shard: str | None) -> None:
    """Commands that are open, and those of the last day with what came of them."""
    _list(session, shard, lambda _row: True)


def _list(session: Session, shard: str | None, wanted: Callable[[Any], bool]) -> None:
    answer = session.app().get("status")
    shards = [s for s in answer["shards"] if shard in (None, s["shard"])]
    if not shards:
        names = ", ".join(s["shard"] for s in answer["shards"])
        raise Failed(Exit.REFUSED, f"no shard {shard!r}; there are: {names}")
    rows = [{"shard": s["shard"], **row} for s in shards for row in s.get("commands", ()) if wanted(row)]
    session.tell(rows, lambda console, told: show.commands(console, told, answer["at"]))


@cli.command()
@click.argument("bridge")
@click.option("--yes", is_flag=True, help="Do not ask whether you are sure.")
@orders
def replace(session: Session, bridge: str, yes: bool, **who: Any) -> None:
    """
    Give your word that BRIDGE serves nobody: its machine is deleted.

    Only for a machine that is sick, stopped, or never became ready. The app cannot see whether media
    still flows through a bridge that does not answer it; you have to know. One on which anything
    answers is never deleted. The rules then stand in for it.
    """
    if not yes:
        click.confirm(f"Do you know that nobody is in a call on {bridge}?", abort=True, err=True)
    _order(session, "replace", bridge=bridge, **who)


@cli.group()
def image() -> None:
    """Image versions that the nights use."""


@image.command("unblock")
@click.argument("version")
@orders
def image_unblock(session: Session, version: str, **who: Any) -> None:
    """Let VERSION be used again, which made a bad canary."""
    _order(session, "unblock_image", image_version=version, **who)


def main() -> None:
    """Run from the command line."""
    cli(prog_name="jvb-autoscaler")


if __name__ == "__main__":
    main()
