"""KNOWLEDGE of a night: what may be drained, bought and written for it. A second reading of its rules."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from sandbox.checkers.told import View
from sandbox.witness import Act
from scaler.model import CreateIntent, Night
from scaler.policy import ScalingPolicy


def against_drain(
    act: Act, view: View, policy: ScalingPolicy, drained: set[str], slack: timedelta
) -> list[str]:
    """
    What speaks against a new drain for the night, besides what speaks against every drain.

    `drained`: machines that were newly drained earlier in this tick.
    """
    if view.is_condemned(act.vm_id):
        return []  # a blocked image: at any hour, as long as enough others accept
    night = view.night()
    if night is None:
        return ["no night is open"]
    surge = policy.surge_of(night.base)
    in_the_way = view.older_in_the_way(act.vm_id)
    older = [name for name in in_the_way if not view.leaves(name) and name not in drained]
    others = view.accepting_without(act.vm_id) - len(drained)
    return _failed(
        (night.passed_at is not None, "no canary was proved before this tick"),
        (_is_in_window(policy, view.told.now, slack), "outside the window"),
        (others >= night.base, f"{others} others accept, {night.base} must"),
        (len(view.recycled()) + len(drained) < surge, f"more than {surge} on their way out"),
        (not older, f"{len(older)} older ones do not drain"),
        (view.is_due(act.vm_id), "neither outdated, nor before one that is"),
    )


def _is_in_window(policy: ScalingPolicy, now: datetime, slack: timedelta) -> bool:
    """The time of day lies between the two ends, as a clock on the wall of that zone shows it."""
    zone = ZoneInfo(policy.time_zone)
    shown = [f"{(now + shift).astimezone(zone):%H:%M}" for shift in (-slack, timedelta(0), slack)]
    begins, ends = policy.recycle_at, policy.recycle_until
    if begins < ends:
        return any(begins <= each < ends for each in shown)
    return any(each >= begins or each < ends for each in shown)


def against_trial(view: View) -> list[str]:
    """Nothing new is drained, and no bridge fenced, while a canary has no verdict."""
    return ["a canary is on trial"] if view.is_on_trial() else []


def against_purchase(view: View, new: Sequence[CreateIntent]) -> list[str]:
    """A night asks for one canary, and for no other machine before its verdict."""
    for_night_alone = any(intent.why.startswith("night:") for intent in new)
    if not for_night_alone:
        return []
    return _failed(
        (not view.is_on_trial(), "a second canary"),
        (view.night() is not None, "no night is open"),
    )


def surge_allowed(view: View, policy: ScalingPolicy) -> int:
    """How far the maximum may be exceeded now."""
    night = view.night()
    return policy.surge_of(night.base) if night is not None else 0


def against_image(
    act: Act, view: View, night_in_table: Night | None, policy: ScalingPolicy, proved: set[str]
) -> list[str]:
    """What speaks against making new machines of an image; `proved`: what bridges that accepted ran."""
    state = view.state()
    blocked = state.blocked_images if state is not None else {}
    target = night_in_table.target if night_in_table is not None and night_in_table.is_open else None
    return _failed(
        (policy.image_definition_id is not None, "images are none of ours"),
        (act.image not in blocked, "it is blocked"),
        (
            act.image == target or act.image in proved,
            "neither the night's target, nor one that ever made a bridge",
        ),
    )


def _failed(*terms: tuple[bool, str]) -> list[str]:
    return [text for holds, text in terms if not holds]
