"""What the figures say: means over seeds, the promises that hold or not, and where this product loses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

from sandbox.compare.policies import OURS, OURS_IDLE, POLICIES
from sandbox.compare.week import Result

BUSY_SHAPES, STILL_SHAPES = ("office", "school", "growth"), ("owls", "webinar")
FEWER_THAN_LITERAL = 0.40
RATIO_AIM = 1.5
_FIGURES = tuple(field.name for field in fields(Result) if field.name not in {"policy", "shape", "seed"})


@dataclass(frozen=True, slots=True)
class Verdict:
    """One promise, whether it holds, and the figures that say so."""

    promise: str
    holds: bool
    because: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """All results, and their means over the seeds."""

    results: tuple[Result, ...]

    @property
    def shapes(self) -> tuple[str, ...]:
        """Shapes in the order in which they were asked for."""
        return tuple(dict.fromkeys(result.shape for result in self.results))

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds in order."""
        return tuple(sorted({result.seed for result in self.results}))

    def mean(self, shape: str, policy: str) -> Result:
        """Return an average week."""
        return _mean([r for r in self.results if (r.shape, r.policy) == (shape, policy)])

    def row(self, shape: str) -> list[Result]:
        """Every policy in one shape, its average week."""
        present = {result.policy for result in self.results}
        return [self.mean(shape, policy) for policy in POLICIES if policy in present]

    def rivals(self, shape: str) -> list[Result]:
        """Policies of others in one shape, its average week."""
        return [result for result in self.row(shape) if result.policy not in {OURS, OURS_IDLE}]


def _mean(results: Sequence[Result]) -> Result:
    first = results[0]
    means = {name: sum(getattr(result, name) for result in results) / len(results) for name in _FIGURES}
    return Result(first.policy, first.shape, first.seed, **means)


def beats(one: Result, other: Result) -> bool:
    """It has fewer overload minutes and fewer bridge-hours."""
    return one.overload_minutes < other.overload_minutes and one.bridge_hours < other.bridge_hours


def verdicts(comparison: Comparison) -> list[Verdict]:
    """Judge what this product promises of its default policy, as far as it was simulated."""
    return [
        _cuts_nothing(comparison),
        *(_unbeaten(comparison, shapes) for shapes in (BUSY_SHAPES, STILL_SHAPES) if _of(comparison, shapes)),
        _fewer_than_literal(comparison),
        _near_the_bound(comparison),
    ]


def _of(comparison: Comparison, shapes: Iterable[str]) -> list[str]:
    return [shape for shape in shapes if shape in comparison.shapes]


def _cuts_nothing(comparison: Comparison) -> Verdict:
    cut = {r.shape: r.calls_cut for r in comparison.results if r.policy == OURS and r.calls_cut}
    because = ", ".join(f"{shape}: {calls}" for shape, calls in cut.items()) or "none in any week"
    return Verdict("It cuts no call.", not cut, because)


def _unbeaten(comparison: Comparison, shapes: Sequence[str]) -> Verdict:
    better = []
    for shape in _of(comparison, shapes):
        ours = comparison.mean(shape, OURS)
        better += [
            f"{shape}: {POLICIES[rival.policy].title} ({_against(rival, ours)})"
            for rival in comparison.rivals(shape)
            if rival.calls_cut == 0 and beats(rival, ours)
        ]
    promise = f"On {', '.join(_of(comparison, shapes))} no other policy that cuts no call is better on both "
    promise += "overload minutes and bridge-hours."
    return Verdict(promise, not better, "; ".join(better) or "none is")


def _against(rival: Result, ours: Result) -> str:
    return (
        f"{rival.overload_minutes:.0f} against {ours.overload_minutes:.0f} overload minutes, "
        f"{rival.bridge_hours:.0f} against {ours.bridge_hours:.0f} bridge-hours"
    )


def _fewer_than_literal(comparison: Comparison) -> Verdict:
    saved = {}
    for shape in comparison.shapes:
        share = saved_on_literal(comparison, shape, comparison.mean(shape, OURS).bridge_hours)
        if share is not None:
            saved[shape] = share
    because = ", ".join(f"{shape} {share:.0%} fewer" for shape, share in saved.items())
    holds = all(share >= FEWER_THAN_LITERAL for share in saved.values())
    promise = (
        f"It takes at least {FEWER_THAN_LITERAL:.0%} fewer bridge-hours than the literal rule in each shape."
    )
    return Verdict(promise, holds, because)


def saved_on_literal(comparison: Comparison, shape: str, hours: float) -> float | None:
    """Share of the literal rule's bridge-hours that so many save; None where it was not simulated."""
    for rival in comparison.rivals(shape):
        if rival.policy == "literal":
            return 1 - hours / rival.bridge_hours
    return None


def _near_the_bound(comparison: Comparison) -> Verdict:
    ratios = {
        name: _mean([r for r in comparison.results if r.policy == name]).ratio
        for name in (OURS, OURS_IDLE)
        if any(r.policy == name for r in comparison.results)
    }
    because = ", ".join(f"{ratio:.2f} with {POLICIES[name].title}" for name, ratio in ratios.items())
    promise = f"All weeks together take at most {RATIO_AIM} times the bridge-hours of the bound."
    return Verdict(promise, ratios[OURS] <= RATIO_AIM, because)


def losses(comparison: Comparison, shape: str) -> list[str]:
    """Sentences that say who does better than this product at what, in one shape."""
    ours = comparison.mean(shape, OURS)
    said = []
    for rival in comparison.rivals(shape):
        fewer_minutes = rival.overload_minutes < ours.overload_minutes
        fewer_hours = rival.bridge_hours < ours.bridge_hours
        if not fewer_minutes and not fewer_hours:
            continue
        what = " and ".join(
            word
            for word, true in (("less overload", fewer_minutes), ("fewer bridge-hours", fewer_hours))
            if true
        )
        price = f"; calls cut: {rival.calls_cut:g}" if rival.calls_cut else ""
        said.append(f"{POLICIES[rival.policy].title} has {what}: {_against(rival, ours)}{price}.")
    return said
