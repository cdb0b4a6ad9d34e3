"""How long a round should be: a function of the network, never of a clock, which would change the bits."""

from __future__ import annotations

from ..plan import Plan

FLOPS = 100e9  # a second and core, assumed: of 155 that the FMA units of the machine where this was measured can do
UPDATE_SECONDS = 20e-6  # of an update, whatever its size
ROUND_SECONDS = 0.25  # of a partition: about a second for the four partitions that a worker usually has


def update_seconds(plan: Plan, batch_size: int) -> float:
    """What an update should take on one core: two operations a weight and row forwards, four backwards."""
    weights = sum(op.x.n * op.out.n for op in plan.parametric if op.is_dense)
    return 6.0 * weights * batch_size / FLOPS + UPDATE_SECONDS


def usual_sync_every(plan: Plan, batch_size: int) -> int:
    """Updates of a partition from one round to the next: some 0.25 s of them, of which 40 ms of latency are little."""
    return max(1, round(ROUND_SECONDS / update_seconds(plan, batch_size)))
