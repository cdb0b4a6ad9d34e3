"""All that Python calls, or points programs to, by name."""

from .handles import Module, Routine

dense, dot, gather, loss_rows, norm, online, online_loss, predict, rowwise, sparse, update = map(
    Module,
    ("dense", "dot", "gather", "loss_rows", "norm", "online", "online_loss", "predict", "rowwise", "sparse", "update"),
)

run_chunks = Routine("run", "run", 3)
shuffle = Routine("rng", "shuffled", 5)
