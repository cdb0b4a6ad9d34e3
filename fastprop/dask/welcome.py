"""A worker before its first round: importing and compiling take seconds that no round should wait for."""

from __future__ import annotations

import numpy as np

from ..validation import Rows
from . import job as jobs
from .job import Job
from .messages import Share
from .replica import train


def welcome(job: Job) -> None:
    """Load, or compile, what a round needs: by an update on two rows of zeros at a learning rate of 0.

    Raises
    ------
    Unfit
        If the worker has other versions than the client.
    """
    job.check_worker()
    net = job.net
    X = np.zeros((2, net.n_features_), net.dtype)
    y = np.zeros((2, net.n_outputs_), net.dtype) if net.classes_ is None else net.classes_[[0, -1]]
    try:
        matrix, targets = net._check_data(X, y, may_infer=False)
    except (ValueError, TypeError):  # targets that the loss does not take: the first round compiles
        return
    with jobs.working:
        train(job, Share(0, 0, 1, np.zeros(len(X))), 0, Rows(matrix, targets, None), 1)
