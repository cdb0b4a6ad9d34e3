"""All that Python calls, or points programs to, by name."""

from .handles import Module, Routine

dense, dot, gather, loss_rows, norm, online, online_loss, predict, rowwise, sparse, update = map(
    Module,
    ("dense", "dot", "gather", "loss_rows", "norm", "online", "online_loss", "predict", "rowwise", "sparse", "update"),
)

run_chunks = Routine("run", "run", 3)
shuffle = Routine("rng", "shuffled", 5)
first_flaw = Routine("structure", "first_flaw", 6)
linear = {  # passes of linear models, by (is sparse, dtype)
    (False, "float32"): Routine("linear", "dense_float32", 1),
    (False, "float64"): Routine("linear", "dense_float64", 1),
    (True, "float32"): Routine("linear_sparse", "sparse_float32", 1),
    (True, "float64"): Routine("linear_sparse", "sparse_float64", 1),
}
hogwild = {dtype: Routine("hogwild", f"hogwild_{dtype}", 3) for dtype in ("float32", "float64")}
sum_losses = Routine("linear_losses", "sum_losses", 1)
scales_ahead = Routine("linear_losses", "scales_ahead", 2)
tabulate_rates = Routine("linear_losses", "tabulate", 2)
is_finite = {dtype: Routine("linear_losses", f"is_finite_{dtype}", 1) for dtype in ("float32", "float64")}
