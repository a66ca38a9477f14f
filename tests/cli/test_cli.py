"""Every command of `jvb-autoscaler` over real HTTP: what it prints, what it does, how it fails."""

from __future__ import annotations

import json

import click
import httpx
import pytest
from click.testing import CliRunner

from cli.app import cli
from cli.client import Exit
from scaler.model import Purpose
from tests.cli.conftest import Terminal
from tests.scaler.worlds import SHARD

WHY = ("--why", "a test")


async def test_status_is_a_table_for_people_and_json_for_programs(terminal: Terminal):
    """The bridges, their phases and the totals; the same answer whole with --json."""
    ran = await terminal.run("status")
    assert ran.code == Exit.OK
    for name in terminal.it.names():
        assert name in ran.out
    assert "2 accept calls of 2 machines" in ran.out
    assert (await terminal.asks("status"))["shards"][0]["shard"] == SHARD
    assert json.loads((await terminal.run("--json", "status")).out)["configuration"]["valid"]


async def test_the_bridges_as_csv(terminal: Terminal):
    """A header and a line a bridge, as a spreadsheet reads it."""
    lines = (await terminal.run("status", "--csv")).out.splitlines()
    assert lines[0].startswith("shard,name,vm_id,")
    assert sorted(line.split(",")[1] for line in lines[1:]) == sorted(terminal.it.names())


async def test_explain_says_why_of_all_or_of_one(terminal: Terminal):
    """By name; a bridge that there is not is refused with the names of the shards."""
    older, younger = terminal.it.names()
    ran = await terminal.run("explain")
    assert older in ran.out
    assert younger in ran.out
    assert "we have not watched this shard long enough" in ran.out
    one = await terminal.run("explain", younger)
    assert f"  {older}" not in one.out
    missing = await terminal.run("explain", "nobody")
    assert (missing.code, missing.err) == (Exit.REFUSED, f"jvb-autoscaler: no bridge 'nobody' in {SHARD}\n")


async def test_plan_changes_nothing(terminal: Terminal):
    """It says what a tick would do, and the bridges are not called."""
    await terminal.ticks(11)
    before = list(terminal.it.journal)
    ran = await terminal.run("plan", "--shard", SHARD)
    assert ran.code == Exit.OK
    assert SHARD in ran.out
    assert terminal.it.journal == before


async def test_drain_and_undrain_do_what_they_say(terminal: Terminal):
    """Carried out in the tick that the command runs; done when the bridge shows it."""
    _, younger = terminal.it.names()
    ran = await terminal.run("drain", younger, *WHY)
    assert (ran.code, terminal.it.journal[-1]) == (Exit.WAITING, ("drain", younger))
    memory = (await terminal.it.memories())[younger]
    assert memory.purpose is Purpose.OPERATOR
    await terminal.ticks()
    ran = await terminal.run("commands")
    assert "it drains, until an undrain" in ran.out
    await terminal.run("undrain", younger, *WHY)
    await terminal.ticks()
    assert younger in terminal.it.accepting()


async def test_protect_says_that_the_oldest_freezes_scale_in(terminal: Terminal):
    """And a bad duration shows how to write one."""
    older, _ = terminal.it.names()
    ran = await terminal.run("protect", older, "--for", "2h", *WHY)
    assert ran.code == Exit.OK
    assert "nothing else is removed from this shard either" in ran.out
    bad = await terminal.run("protect", older, "--for", "2", *WHY)
    assert bad.code == Exit.USAGE
    assert "as 90m, 2h, 1d" in bad.err


async def test_pause_and_resume(terminal: Terminal):
    """The shard stops and goes on, and status shows whose word it was."""
    assert (await terminal.run("pause", *WHY)).code == Exit.OK
    assert "paused by ann: a test" in (await terminal.run("status")).out
    await terminal.ticks()
    assert (await terminal.run("resume", *WHY)).code == Exit.OK
    assert not (await terminal.it.state()).paused


async def test_floors_are_set_listed_and_cleared(terminal: Terminal):
    """With a schedule in local time; what the app refuses is told by field."""
    schedule = ("--from", "08:30", "--until", "18:00", "--days", "mon-fri", "--time-zone", "Europe/Berlin")
    assert (await terminal.run("floor", "set", "3", *schedule, *WHY)).code == Exit.OK
    listed = await terminal.run("floor", "list")
    assert "floor 3 08:30-18:00 mon,tue,wed,thu,fri Europe/Berlin" in listed.out
    (row,) = await terminal.asks("floor", "list")
    await terminal.ticks()
    assert await terminal.it.intents()  # 09:01 UTC on a Wednesday: it holds, and a machine comes for it
    assert (await terminal.run("floor", "clear", row["command_id"], *WHY)).code == Exit.OK
    assert await terminal.asks("floor", "list", "--shard", SHARD) == []
    refused = await terminal.run("floor", "set", "99", "--for", "1h", *WHY)
    assert (refused.code, "at most max_bridges (15)" in refused.err) == (Exit.REFUSED, True)
    half = await terminal.run("floor", "set", "3", "--from", "08:30", *WHY)
    assert (half.code, "until: is missing" in half.err) == (Exit.REFUSED, True)
    unknown = await terminal.run("floor", "list", "--shard", "x")
    assert unknown.code == Exit.REFUSED


async def test_cancel_ends_what_is_open(terminal: Terminal):
    """A protection as well as a floor; an id that is not open fails."""
    protected = await terminal.asks("protect", terminal.it.names()[0], "--for", "2h", *WHY)
    await terminal.ticks()
    assert (await terminal.run("cancel", protected["command"]["command_id"], *WHY)).code == Exit.OK
    await terminal.ticks()
    assert (await terminal.run("cancel", "no-such-id", *WHY)).code == Exit.TROUBLE


async def test_replace_asks_first_and_never_takes_a_healthy_machine(terminal: Terminal):
    """Without a yes nothing is sent; a bridge that is well is refused by the tick."""
    older, _ = terminal.it.names()
    asked = await terminal.run("replace", older, *WHY)
    assert asked.code == Exit.TROUBLE
    assert await terminal.asks("commands") == []
    ran = await terminal.run("replace", older, "--yes", *WHY)
    assert ran.code == Exit.TROUBLE
    assert "not sick" in ran.out
    assert terminal.it.verbs == []


async def test_image_unblock_names_what_is_blocked(terminal: Terminal):
    """Nothing is blocked here, and the answer says so."""
    ran = await terminal.run("image", "unblock", "1.2.3", *WHY)
    assert (ran.code, "blocked: none" in ran.out) == (Exit.TROUBLE, True)


async def test_preflight_shows_what_is_missing_with_its_fix(terminal: Terminal):
    """Ready is exit code 0; a right that Azure refuses is shown with its scope and its fix, and is 1."""
    ran = await terminal.run("preflight")
    assert (ran.code, "nothing is missing" in ran.out) == (Exit.OK, True)
    action = "Microsoft.Network/publicIPPrefixes/join/action"
    terminal.it.faces.stage.denied.add(action)
    ran = await terminal.run("preflight")
    assert ran.code == Exit.TROUBLE
    assert f"permission {action}:" in ran.out
    assert "fix: give the app's identity a role" in ran.out


async def test_doctor_names_the_first_broken_link(terminal: Terminal):
    """Code 0 for a fleet that is well, 1 and the way out for one that is not."""
    assert (await terminal.run("doctor")).code == Exit.OK
    older, _ = terminal.it.names()
    terminal.it.bridge(older).crash()
    await terminal.it.faces.sync()
    ran = await terminal.run("doctor")
    assert ran.code == Exit.TROUBLE
    assert "port refuses connections" in ran.out
    assert "start the JVB" in ran.out


async def test_events_are_lines_and_follow_on(terminal: Terminal, monkeypatch: pytest.MonkeyPatch):
    """Oldest first; with --follow it asks again from where it was, until it is stopped."""
    ran = await terminal.run("events")
    assert "adopted" in ran.out
    first = [json.loads(line) for line in (await terminal.run("events", "--json")).out.splitlines()]
    assert [row["kind"] for row in first] == ["adopted", "adopted", "refused"]
    assert (await terminal.run("events", "--since", "yesterday")).code == Exit.REFUSED
    looks: list[float] = []

    def stop_at_the_second(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 2:
            raise click.Abort

    monkeypatch.setattr("cli.app.time.sleep", stop_at_the_second)
    followed = await terminal.run("events", "--follow", "--json")
    assert len(followed.out.splitlines()) == 3  # told once, although it looked twice


async def test_report_is_a_table_json_or_csv(terminal: Terminal):
    """Of today without a day; a day of which nothing is known says so."""
    await terminal.ticks(2)
    ran = await terminal.run("report", "--step", "1")
    assert ran.code == Exit.OK
    assert ran.out.count(SHARD) == 3
    rows = (await terminal.asks("report", "--day", "2026-11-18", "--until", "2026-11-18"))["rows"]
    assert [(row["at"], row["listed"]) for row in rows] == [("2026-11-18T09:00:00Z", 2)]
    lines = (await terminal.run("report", "--csv", "--step", "1", "--shard", SHARD)).out.splitlines()
    assert lines[0].startswith("at,shard,listed,healthy,accepting")
    assert len(lines) == 4
    day = await terminal.run("report", "--day", "2026-11-18", "--step", "day")
    assert "2026-11-18" in day.out
    (row,) = (await terminal.asks("report", "--day", "2026-11-18", "--step", "day"))["rows"]
    assert (row["currency"], row["bridges_peak"]) == ("USD", 2)
    assert row["cost"] is not None
    empty = await terminal.run("report", "--day", "2020-01-01")
    assert "Nothing was recorded" in empty.out
    assert (await terminal.run("report", "--csv", "--shard", "x")).code == Exit.REFUSED
    assert (await terminal.run("report", "--day", "yesterday")).code == Exit.USAGE


async def test_watch_draws_the_status_again(terminal: Terminal, monkeypatch: pytest.MonkeyPatch):
    """As often as asked for, at its pace."""
    waited: list[float] = []
    monkeypatch.setattr("cli.app.time.sleep", waited.append)
    ran = await terminal.run("watch", "--times", "2", "--every", "7")
    assert (ran.out.count("accept calls"), waited) == (2, [7.0])


async def test_a_command_waits_for_the_lease_and_says_so(terminal: Terminal, monkeypatch: pytest.MonkeyPatch):
    """Written, code 6, and the next tick takes it up; --wait sees that."""
    lease = await terminal.it.store.acquire(SHARD, "another", terminal.it.world.now, 150)
    ran = await terminal.run("pause", *WHY)
    assert ran.code == Exit.WAITING
    assert "another run holds the shard's lease; the next tick takes it up" in ran.out
    monkeypatch.setattr("cli.app.WAIT_EVERY_S", 0.05)
    waited = await terminal.run("resume", "--wait", "1", *WHY)
    assert waited.code == Exit.WAITING
    await terminal.it.store.release(lease, terminal.it.world.now)
    await terminal.ticks()
    assert {row["state"] for row in await terminal.asks("commands")} == {"cancelled", "done"}


ASKING = [
    ("status",),
    ("explain",),
    ("plan",),
    ("doctor",),
    ("preflight",),
    ("events",),
    ("watch", "--times", "1"),
    ("report",),
    ("commands",),
    ("floor", "list"),
]
COMMANDING = [
    ("drain", "x", *WHY),
    ("undrain", "x", *WHY),
    ("protect", "x", "--for", "1h", *WHY),
    ("pause", *WHY),
    ("resume", *WHY),
    ("floor", "set", "2", "--for", "1h", *WHY),
    ("floor", "clear", "x", *WHY),
    ("cancel", "x", *WHY),
    ("replace", "x", "--yes", *WHY),
    ("image", "unblock", "1.0.0", *WHY),
]
COMMANDS = [*ASKING, *COMMANDING]


async def test_while_another_run_holds_the_lease_all_are_answered_and_none_is_carried_out(terminal: Terminal):
    """Who asks gets his answer; who commands gets code 6 and the reason, and no bridge is called."""
    lease = await terminal.it.store.acquire(SHARD, "another", terminal.it.world.now, 150)
    for words in ASKING:
        assert (words, (await terminal.run(*words)).code) == (words, Exit.OK)
    older = terminal.it.names()[0]
    for words in COMMANDING:
        ran = await terminal.run(*(older if word == "x" else word for word in words))
        assert (words, ran.code) == (words, Exit.WAITING)
        assert "another run holds the shard's lease" in ran.out
    assert terminal.it.journal == []
    assert {row["state"] for row in await terminal.asks("commands")} == {"open"}
    await terminal.it.store.release(lease, terminal.it.world.now)
    await terminal.ticks()
    assert "open" not in {row["state"] for row in await terminal.asks("commands") if row["kind"] == "pause"}


async def test_without_permission_every_command_says_which_key_is_missing(terminal: Terminal):
    """Code 3, on standard error, and nothing is written."""
    for words in COMMANDS:
        ran = await terminal.run(*words, key="wrong", command_key="wrong")
        assert (words, ran.code, ran.out) == (words, Exit.NOT_PERMITTED, "")
        assert "wants a key, or another one (401)" in ran.err
        assert "JVB_AUTOSCALER" in ran.err
    assert await terminal.asks("commands") == []
    reader = await terminal.run("pause", *WHY, command_key="look")
    assert reader.code == Exit.NOT_PERMITTED  # the key of a reader does not command
    assert "JVB_AUTOSCALER_COMMAND_KEY" in reader.err


def run(*words: str, transport: httpx.BaseTransport | None = None, **env: str):
    """Run without an installation."""
    settings = {"JVB_AUTOSCALER_URL": "http://127.0.0.1:9", "JVB_AUTOSCALER_KEY": "k", **env}
    return CliRunner().invoke(cli, list(words), env=settings, obj=transport)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_an_app_that_is_not_there_is_told_as_such(words: tuple[str, ...]):
    """Code 4 and what to look at, for every command, without a stack trace."""
    ran = run(*words)
    assert ran.exit_code == Exit.UNREACHABLE
    assert "cannot be reached" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize(
    ("answer", "code", "says"),
    [
        (httpx.Response(403), Exit.NOT_PERMITTED, "forbids it (403)"),
        (httpx.Response(302, headers={"location": "/login"}), Exit.NOT_PERMITTED, "its sign-in is on"),
        (httpx.Response(404), Exit.UNREACHABLE, "does not exist (404)"),
        (httpx.Response(404, json={"error": "no shard 'x'"}), Exit.REFUSED, "no shard 'x'"),
        (httpx.Response(400, json=["x"]), Exit.REFUSED, "refuses it (400)"),
        (httpx.Response(503, json={"error": "e", "faults": ["one", "two"]}), Exit.UNREACHABLE, "one\ntwo"),
        (httpx.Response(500), Exit.UNREACHABLE, "fails (500)"),
        (httpx.Response(200, html="<html>"), Exit.UNREACHABLE, "did not answer with JSON"),
    ],
    ids=["403", "sign-in", "404", "unknown", "400", "503", "500", "page"],
)
def test_each_way_to_fail_has_its_code_and_its_words(answer: httpx.Response, code: Exit, says: str):
    """What the app says itself goes before our own words."""
    ran = run("status", transport=httpx.MockTransport(lambda _request: answer))
    assert (ran.exit_code, says in ran.stderr) == (code, True)


def test_a_timeout_says_that_an_idle_app_is_slow():
    """The first call of the day is a cold start."""

    def sleep(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("late", request=request)

    ran = run("status", transport=httpx.MockTransport(sleep))
    assert (ran.exit_code, "takes a while to start" in ran.stderr) == (Exit.UNREACHABLE, True)


@pytest.mark.parametrize("url", ["", "http://[", "ftp"])
def test_a_missing_or_broken_url_is_a_wrong_usage(url: str):
    """It says what to export."""
    ran = run("status", JVB_AUTOSCALER_URL=url)
    assert ran.exit_code in (Exit.USAGE, Exit.UNREACHABLE)
    assert "URL" in ran.stderr


def test_an_invalid_configuration_is_bad_news():
    """Every fault on a line, and code 1."""
    told = {"configuration": {"valid": False, "faults": ["SCALER_SHARDS: is missing"]}, "shards": []}
    ran = run("status", transport=httpx.MockTransport(lambda _request: httpx.Response(200, json=told)))
    assert ran.exit_code == Exit.TROUBLE
    assert "SCALER_SHARDS: is missing" in ran.stdout


def test_options_may_stand_last():
    """--url, --key and --json are understood behind the command too."""
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"configuration": {"valid": True}, "shards": []})

    ran = run("status", "--url", "http://there/api/", "--key", "k2", transport=httpx.MockTransport(answer))
    assert ran.exit_code == Exit.OK
    assert (str(seen[0].url), seen[0].headers["x-functions-key"]) == ("http://there/api/status", "k2")
    assert "authorization" not in seen[0].headers


def test_a_token_of_the_sign_in_is_sent_besides_the_key():
    """Where Easy Auth is on, both are wanted."""
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"configuration": {"valid": True}, "shards": []})

    run("status", transport=httpx.MockTransport(answer), JVB_AUTOSCALER_TOKEN="t")
    assert (seen[0].headers["authorization"], seen[0].headers["x-functions-key"]) == ("Bearer t", "k")


def _all(command: click.Command, path: str = "") -> list[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        return [each for name, sub in command.commands.items() for each in _all(sub, f"{path} {name}")]
    return [(path.strip(), command)]


@pytest.mark.parametrize(("path", "command"), _all(cli))
def test_every_command_is_taught_and_tested(path: str, command: click.Command):
    """Each has a help text in whole sentences, and stands in the list that the tests above go through."""
    assert len(command.help or command.get_short_help_str()) > 20
    ran = run(*path.split(), "--help")
    assert ran.exit_code == 0
    assert "--json" in ran.output
    assert path in {" ".join(w for w in words if w in path.split()) for words in COMMANDS}


def test_the_help_of_the_whole_teaches():
    """Where to begin, which variables to set, and what the exit codes mean."""
    text = run("--help").output
    for word in ("JVB_AUTOSCALER_URL", "JVB_AUTOSCALER_KEY", "Exit codes", "explain", "make serve"):
        assert word in text
