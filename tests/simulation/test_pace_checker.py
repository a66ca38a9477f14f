"""The pace checker catches an engine that hurries, sleeps, or does not heed an operator's word."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import scaler.canary
import scaler.commands
import scaler.decide
import scaler.demand
import scaler.passive
import scaler.recycle
import scaler.scale_in
import scaler.scale_out
import scaler.watch
from sandbox.faults import Fault
from sandbox.simulation import live_through
from scaler.model import CommandKind, ImageVersion, Night, ShardMemory, version_order
from scaler.scale_out import Growth
from scaler.selection import Fleet
from scaler.window import Window, window_at
from tests.simulation.test_checkers import without

HOURS = 4.0
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
Break = Callable[[pytest.MonkeyPatch], None]


def texts(seeds: range, plan: Sequence[Fault] | None) -> Iterator[str]:
    """What is said of each run that fails; plan None: under the faults of its seed."""
    for seed in seeds:
        yield from (str(violation) for violation in live_through(seed, HOURS, plan).violations)


def believes(**changes: Any) -> Break:
    """An engine that takes these for what it remembers of the shard, where it adds and takes away."""

    def broken(monkeypatch: pytest.MonkeyPatch) -> None:
        grow, drains, pace = scaler.scale_out.grow, scaler.scale_in.drains, scaler.scale_in.pace_objections

        def grown(fleet: Fleet, state: ShardMemory, *rest: Any) -> Growth:
            return grow(fleet, replace(state, **changes), *rest)

        def drained(fleet: Fleet, state: ShardMemory, **rest: Any) -> scaler.scale_in.Shrink:
            return drains(fleet, replace(state, **changes), **rest)

        def paced(fleet: Fleet, state: ShardMemory, *rest: Any, **more: Any) -> Any:
            return pace(fleet, replace(state, **changes), *rest, **more)

        monkeypatch.setattr("scaler.decide.grow", grown)
        monkeypatch.setattr("scaler.decide.drains", drained)
        monkeypatch.setattr("scaler.recycle.pace_objections", paced)

    return broken


def sets(module: Any, name: str, value: Any) -> Break:
    """An engine with something else in that place."""
    return lambda monkeypatch: monkeypatch.setattr(module, name, value)


def forgets(kind: CommandKind) -> Break:
    """An engine that writes a command down as in force, and does nothing for it."""

    def broken(monkeypatch: pytest.MonkeyPatch) -> None:
        if kind is CommandKind.PROTECT:
            without(monkeypatch, "protected")
        elif kind is CommandKind.FLOOR:
            monkeypatch.setattr(scaler.decide, "with_floors", lambda policy, _commands, _now: (policy, ()))
        else:
            take = scaler.commands._TAKE
            monkeypatch.setitem(take, kind, lambda command, desk: desk.hold(command, "broken on purpose"))

    return broken


def _proves_at_once(fleet: Fleet, night: Night, *_rest: Any) -> Night:
    return replace(night, passed_at=fleet.now)


def _lifts_the_oldest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    undrains = scaler.scale_out._undrains

    def reverse(fleet: Fleet, *rest: Any) -> Any:
        return undrains(replace(fleet, our_drains=fleet.our_drains[::-1]), *rest)

    monkeypatch.setattr(scaler.scale_out, "_undrains", reverse)


def _opens_all_night(fleet: Fleet, state: ShardMemory) -> Window | None:
    due = fleet.snapshot.nightly is not None and not state.night.is_open
    return window_at(fleet.policy, fleet.now) if due else None


def _oldest_version(versions: Iterable[ImageVersion], *_rest: Any) -> str | None:
    return min((v.id for v in versions), key=version_order, default=None)


def _asks_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaler.scale_out, "_limited", lambda *_args: (0, ()))
    monkeypatch.setattr(scaler.scale_out, "_undrains", lambda *_args: ())


PAUSED = (Fault("command_pause", 1800, 9000, pick=1),)
PROTECTED = tuple(Fault("command_protect", 600, 12_000, pick=number) for number in range(8))
SEEDS = range(1, 31)


@pytest.mark.parametrize(
    ("words", "broken", "plan", "seeds"),
    [
        ("the shard is paused", forgets(CommandKind.PAUSE), PAUSED, SEEDS),
        ("it is protected", forgets(CommandKind.PROTECT), PROTECTED, SEEDS),
        ("and a floor of", forgets(CommandKind.FLOOR), None, range(46, 77)),
        ("backing off until", believes(backoff_until=None), None, SEEDS),
        ("blind, and enough accept", believes(blind_since=None), None, range(319, 335)),
        ("blind, and the second one", believes(blind_bought=False), None, range(18, 48)),
        ("no bridge was to spare", believes(surplus_since=LONG_AGO), None, SEEDS),
        ("a drain was taken back just now", believes(last_undrain_at=None), None, SEEDS),
        ("not known for long enough", believes(known_since=LONG_AGO), None, SEEDS),
        ("people for", sets(scaler.demand, "has_surplus", lambda *_args: True), None, SEEDS),
        ("less than three ticks ago", sets(scaler.watch, "BLIND_UNTIL_CLEAR_TICKS", 1), None, range(13, 43)),
        ("refused for", sets(scaler.passive, "EXIT_PROOF", timedelta(0)), None, SEEDS),
        ("its canary accepts since", sets(scaler.canary, "_baked", _proves_at_once), None, SEEDS),
        ("not what was proved", sets(scaler.recycle, "_needs_no_canary", lambda *_args: True), None, SEEDS),
        ("has stood for", sets(scaler.recycle, "_needs_no_canary", lambda *_args: True), None, SEEDS),
        ("does not open", sets(scaler.recycle, "_open", lambda _fleet, state: state), None, SEEDS),
        ("opens once more", sets(scaler.recycle, "_window_to_open", _opens_all_night), None, SEEDS),
        ("and the newest is", sets(scaler.recycle, "choose_target", _oldest_version), None, SEEDS),
        ("lifted ahead", _lifts_the_oldest_first, None, SEEDS),
        ("too many people", _asks_for_nothing, None, SEEDS),
    ],
)
def test_what_is_broken_is_caught(
    words: str,
    broken: Break,
    plan: Sequence[Fault] | None,
    seeds: range,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By its own words, within a few seeds of four hours."""
    broken(monkeypatch)
    assert any(words in text for text in texts(seeds, plan))


@pytest.mark.parametrize("plan", [PAUSED, PROTECTED])
def test_an_engine_that_heeds_the_words_has_nothing_against_it(plan: Sequence[Fault]) -> None:
    """Else the cases above would prove nothing."""
    assert list(texts(range(1, 6), plan)) == []
