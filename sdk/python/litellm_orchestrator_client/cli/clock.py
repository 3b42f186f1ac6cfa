"""Ages that do not depend on what the machine's clock says, nor on whether somebody set it meanwhile."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol


class Clock(Protocol):
    """Seconds. Tests have one that they move."""

    def wall(self) -> float:
        """Since the epoch, as far as this machine knows."""

    def uptime(self) -> float:
        """Since this machine started, about: it never goes back before the next start."""

    def sleep(self, seconds: float) -> None:
        """Returns when these have passed."""


class SystemClock:
    """The machine's own."""

    wall = staticmethod(time.time)
    uptime = staticmethod(time.monotonic)
    sleep = staticmethod(time.sleep)


@dataclass(frozen=True, slots=True)
class Moment:
    """When something was received, on both clocks, in seconds."""

    wall: float
    uptime: float

    @classmethod
    def now(cls, clock: Clock) -> Moment:
        """This moment."""
        return cls(clock.wall(), clock.uptime())

    def age(self, clock: Clock) -> float | None:
        """The seconds since then; None if the clock was set back and the machine restarted, so that nobody knows.

        The longer of the two is closer to the truth: the wall clock may have been set back, and the other one stops
        while the machine sleeps and begins anew when it starts, so that it is never ahead of the truth.
        """
        longest = max(clock.wall() - self.wall, clock.uptime() - self.uptime)
        return longest if longest >= 0 else None
