"""How long a round should be: a function of the network and its rows, never of a clock, which would change the bits."""

from __future__ import annotations

from ..plan import Plan

FLOPS = 100e9  # a second and core, assumed: of 155 that the FMA units of the machine where this was measured can do
UPDATE_SECONDS = 20e-6  # of an update, whatever its size
ROUND_SECONDS = 0.25  # of a partition: about a second for the four partitions that a worker usually has
LEAST_ROUNDS = (
    16  # of an epoch: MNIST, Nesterov at 0.1, batches of 128 in 8 partitions: 95.1 % with 1, 97.6 with 8, 97.7 with 16
)
LEAST_UPDATES = 20  # of a round, even so


def update_seconds(plan: Plan, batch_size: int) -> float:
    """What an update should take on one core: two operations a weight and row forwards, four backwards."""
    weights = sum(op.x.n * op.out.n for op in plan.parametric if op.is_dense)
    return 6.0 * weights * batch_size / FLOPS + UPDATE_SECONDS


def usual_sync_every(plan: Plan, batch_size: int) -> int:
    """Updates of a partition from one round to the next: some 0.25 s of them, of which 40 ms of latency are little."""
    return max(1, round(ROUND_SECONDS / update_seconds(plan, batch_size)))


def sync_every_of(given: int | None, plan: Plan, batch_size: int | None, n_updates: int) -> int:
    """Updates of a partition from one round to the next: what was given, or else what is usual.

    Parameters
    ----------
    given : int or None
    plan : Plan
    batch_size : int or None
        Of a replica.
    n_updates : int
        That the busiest partition makes in an epoch.
    """
    return given or min(usual_sync_every(plan, batch_size or 128), max(LEAST_UPDATES, -(-n_updates // LEAST_ROUNDS)))
