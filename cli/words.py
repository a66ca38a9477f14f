"""What a person types, as the app takes it: durations and days."""

from __future__ import annotations

import re

import click

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_PART = re.compile(r"(\d+)([mhd])")
_MINUTES = {"m": 1, "h": 60, "d": 1440}


class Duration(click.ParamType[int]):
    """`90m`, `2h`, `1d`, `1h30m`: minutes."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return whole minutes."""
        text = str(value)
        parts = _PART.findall(text)
        if not parts or "".join(number + unit for number, unit in parts) != text:
            self.fail(f"{text!r} is no duration, as 90m, 2h, 1d or 1h30m", param, ctx)
        return sum(int(number) * _MINUTES[unit] for number, unit in parts)


class Days(click.ParamType[list[str]]):
    """`mon-fri`, `sat,sun`, `daily`: a list of days."""

    name = "days"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> list[str]:
        """Return the days in their order; a range may go over Sunday."""
        text = str(value).lower()
        found: set[str] = set(DAYS) if text == "daily" else set()
        for part in () if text == "daily" else text.split(","):
            first, dash, last = part.strip().partition("-")
            last = last if dash else first
            if first not in DAYS or last not in DAYS:
                self.fail(f"{part!r} is neither a day nor a range, as mon-fri or sat,sun", param, ctx)
            begin, end = DAYS.index(first), DAYS.index(last)
            found |= {DAYS[(begin + step) % 7] for step in range((end - begin) % 7 + 1)}
        return [day for day in DAYS if day in found]


DURATION, DAY_LIST = Duration(), Days()
