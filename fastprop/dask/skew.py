"""Partitions whose rows are quite unlike the rest: found by their labels, or by the mean of y.

A replica that trains on one label for a round unlearns the others, and the average of such replicas is poor.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from .looks import Labels, Look, Numbers

LABELS_APART = 0.25  # of a partition's rows would have to change their label for it to look like all rows together
MEANS_APART = 0.5  # deviations of y
CHANCE = 3.0  # times what rows drawn at random differ by: small partitions are apart by chance
ADVICE = "shuffle the rows over the partitions, or take mode='sync' or a small sync_every"


def warn_of_skew(looks: list[Look]) -> None:
    """RuntimeWarning that names the partition that is furthest from the rest, if one is far."""
    if len(looks) < 2:
        return
    message = _of_labels(looks) if all(isinstance(seen.y, Labels) for seen in looks) else _of_numbers(looks)
    if message is not None:
        warnings.warn(f"{message}; replicas that are averaged learn such rows badly: {ADVICE}", RuntimeWarning, 4)


def _of_labels(looks: list[Look]) -> str | None:
    totals: dict[Any, int] = {}
    for seen in looks:
        for label, count in _counts(seen):
            totals[label] = totals.get(label, 0) + count
    n = sum(totals.values())
    worst = (0.0, looks[0])
    for seen in looks:
        counts = dict(_counts(seen))
        n_rows = max(1, sum(counts.values()))
        apart = 0.5 * sum(abs(counts.get(label, 0) / n_rows - total / n) for label, total in totals.items())
        by_chance = 0.4 * sum(np.sqrt(total / n * (1 - total / n) / n_rows) for total in totals.values())
        if apart > LABELS_APART + CHANCE * by_chance and apart > worst[0]:
            worst = apart, seen
    if not worst[0]:
        return None
    seen = worst[1]
    counts = dict(_counts(seen))
    n_rows = sum(counts.values())
    label = max(counts, key=lambda label: counts[label] / n_rows - totals[label] / n)
    return (
        f"partitions hold quite different labels: {_percent(counts[label] / n_rows)} of the rows of partition "
        f"{seen.number} have the label {label!r}, of all rows {_percent(totals[label] / n)}"
    )


def _counts(seen: Look) -> list[tuple[Any, int]]:
    assert isinstance(seen.y, Labels)
    return list(zip(seen.y.distinct.tolist(), seen.y.counts.tolist(), strict=True))


def _of_numbers(looks: list[Look]) -> str | None:
    numbers = [seen.y for seen in looks if isinstance(seen.y, Numbers)]
    rows = np.array([seen.n_rows for seen in looks], float)[:, None]
    means = np.array([of.mean for of in numbers])
    mean = (rows * means).sum(axis=0) / rows.sum()
    within = np.array([of.variance for of in numbers])
    deviation = np.sqrt((rows * (within + (means - mean) ** 2)).sum(axis=0) / rows.sum())
    apart = np.abs(means - mean) / np.where(deviation > 0, deviation, 1.0) - CHANCE / np.sqrt(rows)
    at, k = np.unravel_index(int(apart.argmax()), apart.shape)
    if apart[at, k] <= MEANS_APART:
        return None
    column = f", output {k}," if means.shape[1] > 1 else ""
    return (
        f"partitions hold quite different targets: the mean of y{column} in partition {looks[at].number} is "
        f"{means[at, k]:.4g}, of all rows {mean[k]:.4g} with a deviation of {deviation[k]:.3g}"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.{0 if share > 0.1 else 1}f} %"
