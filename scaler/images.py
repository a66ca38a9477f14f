"""
Which image version a night is for, who is outdated by it, and what the model must be. Pure.

The model of the scale set always names an exact version from the first night on, so that a version
that nobody has tried is never bought by day.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta

from scaler.decision import PruneImage, SetImage, StartBuild
from scaler.model import Bridge, Build, ImageVersion, Phase, ScaleSet, ShardMemory, version_order
from scaler.selection import Fleet
from scaler.window import next_window

VERSIONS_KEPT = 10
_BUILD_ENDED = frozenset({"Succeeded", "PartiallySucceeded", "Failed", "Canceled"})
_CLOCKS_DIFFER_BY = timedelta(minutes=2)


def choose_target(
    versions: Iterable[ImageVersion], blocked: Mapping[str, datetime], now: datetime
) -> str | None:
    """Return the newest version that may be used, or None."""
    usable = [
        v.id
        for v in versions
        if v.usable
        and v.id not in blocked
        and version_order(v.id)
        and (v.end_of_life is None or v.end_of_life > now)
    ]
    return max(usable, key=version_order, default=None)


def is_outdated(bridge: Bridge, scale_set: ScaleSet | None, target: str | None) -> bool:
    """Its image or boot configuration is another than a new machine would get. Unknown is not outdated."""
    instance = bridge.instance
    if instance is None or scale_set is None:
        return False
    if target is not None and instance.image is not None and instance.image != target:
        return True
    return scale_set.config is not None and instance.config != scale_set.config


def proved_image(fleet: Fleet, state: ShardMemory) -> str | None:
    """
    Return the last known good version while a bridge that serves runs it; else the newest that one runs.

    So a roll-back stays one, and another definition whose numbers are lower counts. A poll that was
    lost now does not count against a bridge. The canary of a night without a verdict proves nothing
    by standing there since.
    """
    running = [
        b.instance.image
        for b in fleet.live
        if b.phase is Phase.READY and b.instance and b.instance.image and version_order(b.instance.image)
    ]
    if state.good_image in running and state.good_image not in state.blocked_images:
        return state.good_image
    night = state.night
    on_trial = night.passed_at is None and (night.is_open or state.good_image is not None)
    # What an earlier night proved stays proved, whatever became of this one.
    unproved = night.target if on_trial and night.target != state.good_image else None
    sound = [image for image in running if image not in state.blocked_images and image != unproved]
    return max(sound, key=version_order, default=state.good_image)


def left_behind(fleet: Fleet, good_image: str | None) -> tuple[Bridge, ...]:
    """Bridges that serve and are made of an older version than the last good one, oldest first."""
    newest = version_order(good_image or "")
    images = ((b, b.instance.image or "") for b in fleet.live if b.instance)
    return tuple(b for b, image in images if version_order(image) and version_order(image) < newest)


def without_superseded(
    blocked: Mapping[str, datetime], target: str | None, made: Collection[str | None] = ()
) -> dict[str, datetime]:
    """
    A block ends when a newer version appears, and no machine is made of the bad one any more.

    `made`: versions of the machines. Until it has left, a bad bridge must not be opened for calls again.
    """
    if target is None or target in blocked:
        return dict(blocked)
    return {
        image: since
        for image, since in blocked.items()
        if image in made or version_order(image) > version_order(target)
    }


def makes_blocked(fleet: Fleet, state: ShardMemory) -> bool:
    """A new machine would be of a blocked version, which nobody can use, and there is one to go back to."""
    scale_set, good = fleet.snapshot.scale_set, state.good_image
    if scale_set is None or fleet.policy.image_definition_id is None or good is None:
        return False
    return scale_set.image in state.blocked_images and scale_set.image != good


def model_step(fleet: Fleet, state: ShardMemory, *, canary_may_start: bool) -> SetImage | None:
    """
    Make the model name what new machines shall be made of, if it does not.

    The night's target, once its canary may start; the last good version where the night ended
    without a verdict for its target, or with a bad one.
    """
    scale_set, night = fleet.snapshot.scale_set, state.night
    if fleet.policy.image_definition_id is None or scale_set is None:
        return None
    if night.is_open and night.target is not None and (canary_may_start or night.passed_at is not None):
        if scale_set.image == night.target:
            return None
        because = "the night's target: its canary is next"
        return SetImage(night.target, because, goes_back=scale_set.image in state.blocked_images)
    if state.good_image is None or scale_set.image == state.good_image:
        return None
    takes_newest = scale_set.image == fleet.policy.image_definition_id.lower() and state.blocked_images
    if scale_set.image in state.blocked_images or takes_newest:
        because = "the model would make a blocked version: back to the last good one"
        return SetImage(state.good_image, because, goes_back=True)
    unproved = night.target is not None and scale_set.image == night.target and night.passed_at is None
    if unproved and not night.is_open:
        because = "no canary has proved the new version: back to the last good one"
        return SetImage(state.good_image, because, goes_back=True)
    return None


# Builds


def build_step(fleet: Fleet, state: ShardMemory) -> StartBuild | None:
    """Start the template's run before the night, once for each."""
    policy, now = fleet.policy, fleet.now
    if fleet.snapshot.nightly is None or policy.image_template_id is None or policy.recycle == "off":
        return None
    window = next_window(policy, now)
    lead = timedelta(minutes=policy.image_build_lead_minutes)
    if now < window.opens_at - lead or (state.build.date or "") >= window.date:
        return None
    return StartBuild(window.date, f"{policy.image_build_lead_minutes} min before the night of {window.date}")


def follow_build(fleet: Fleet, build: Build) -> tuple[Build, str | None]:
    """Return the build with its outcome, and what to say of it once it has ended."""
    heard = fleet.snapshot.nightly.build if fleet.snapshot.nightly else None
    if heard is None or build.asked_at is None or build.outcome is not None:
        return build, None
    started = heard.started_at
    ours = started is not None and started >= build.asked_at - _CLOCKS_DIFFER_BY
    if not ours or heard.state not in _BUILD_ENDED:
        return build, None
    return _with_outcome(build, heard.state), _in_words(build, heard.state, heard.message)


def _with_outcome(build: Build, state: str) -> Build:
    return Build(build.date, build.asked_at, state)


def _in_words(build: Build, state: str, message: str) -> str:
    said = f": {message}" if message else ""
    return f"the image build for the night of {build.date} ended as {state}{said}"


def prunings(fleet: Fleet, state: ShardMemory) -> tuple[PruneImage, ...]:
    """Old versions to delete, where a template keeps making new ones; none that anything still needs."""
    nightly = fleet.snapshot.nightly
    if nightly is None or nightly.versions is None or fleet.policy.image_template_id is None:
        return ()
    newest_first = sorted(
        (v.id for v in nightly.versions if version_order(v.id)), key=version_order, reverse=True
    )
    if nightly.needed_elsewhere is None:
        return ()
    needed = _needed(fleet, state) | nightly.needed_elsewhere
    return tuple(
        PruneImage(image, f"older than the newest {VERSIONS_KEPT}, and nothing is made of it")
        for image in newest_first[VERSIONS_KEPT:]
        if image not in needed
    )


def _needed(fleet: Fleet, state: ShardMemory) -> set[str | None]:
    scale_set = fleet.snapshot.scale_set
    used = {b.instance.image for b in fleet.bridges if b.instance}
    return {*used, state.good_image, state.night.target, scale_set.image if scale_set else None}
