"""How many threads to train on, found by timing."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

from .threads import limit

TRIAL_SECONDS = 0.004  # of a slice that is timed: long beside waking a thread (50 us), short if it is the slower number
LOOK_AGAIN_SECONDS = 2.0  # when to time other numbers of threads anew: a neighbour may have come or gone
TINY_SECONDS = 1e-5  # of a chunk, below which threads only get into each other's way


@dataclass
class ThreadChooser:
    """Times slices on several numbers of threads, and keeps the fastest; the bits do not depend on it.

    `candidates` are tried in turn, three times each, the first time to warm caches; the fastest is used until it is
    time to look again.
    """

    candidates: tuple[int, ...]
    trials: list[tuple[int, float]] = field(default_factory=list)
    best: int = 1
    looked: float = 0.0
    settled: bool = False

    @property
    def is_trying(self) -> bool:
        """Whether the next slice is a trial."""
        if len(self.candidates) > 1 and self.settled and time.perf_counter() - self.looked > LOOK_AGAIN_SECONDS:
            self.settled, self.trials = False, []
        return len(self.candidates) > 1 and not self.settled

    def choose(self) -> int:
        """The number of threads for the next slice."""
        if len(self.candidates) == 1:
            return self.candidates[0]
        if not self.is_trying:
            return self.best
        return self.candidates[len(self.trials) % len(self.candidates)]

    def record(self, n_threads: int, seconds_a_chunk: float) -> None:
        """Take note of a slice."""
        if self.settled or len(self.candidates) == 1:
            return
        self.trials.append((n_threads, seconds_a_chunk))
        if n_threads == 1 and seconds_a_chunk < TINY_SECONDS:
            self.best, self.settled, self.looked = 1, True, time.perf_counter()
        elif len(self.trials) == 3 * len(self.candidates):  # the first round warms caches
            trials = self.trials[len(self.candidates) :]
            # A busy pool leaves all trials to one thread.
            fastest = {n: min((s for m, s in trials if m == n), default=math.inf) for n in self.candidates}
            self.best = min(fastest, key=lambda n: (fastest[n], n))
            self.settled, self.looked = True, time.perf_counter()


def candidates(n_threads: int | None) -> tuple[int, ...]:
    """Numbers of threads to choose from, growing: powers of two and the limit."""
    if n_threads is not None:
        return (n_threads,)
    most = limit()[0]
    return (*(1 << k for k in range((most - 1).bit_length())), most)
