"""SGD on a dataset larger than memory: Parquet or CSV files in, a model file out; stopped and started as you like.

    python examples/large_sgd.py                                    on flights that it makes up, 300,000 rows
    python examples/large_sgd.py rides/*.parquet --target fare --memory 2GB

Rows are read, decoded and prepared in a background thread; never more than --memory of them are held. Text becomes
one-hot, gaps are filled, numbers standardised: all of it learnt in one pass before training, and stored in the model.
Start it again after it was stopped, and it goes on where it was.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

import fastprop as fp


def make_flights(folder: Path, n_files: int = 3, n_rows: int = 100_000) -> list[Path]:
    """Parquet files sorted by the delay to predict: the order that is worst for SGD, if it is not shuffled."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng, n = np.random.default_rng(0), n_files * n_rows
    airports = np.array(["AMS", "CDG", "FRA", "LHR", "OSL", "ZRH"])
    place, hour, wind = rng.integers(0, 6, n), rng.uniform(5, 24, n), rng.gamma(2.0, 8.0, n)
    delay = 4 * place + 0.1 * (hour - 5) ** 2 + 0.02 * wind**2 + rng.normal(0, 5, n)
    order = np.argsort(delay)
    columns = {"airport": airports[place], "hour": hour, "wind": wind.astype(np.float32), "delay": delay}
    table = pa.table({name: values[order] for name, values in columns.items()})
    paths = [folder / f"flights-{k}.parquet" for k in range(n_files)]
    for k, path in enumerate(paths):
        pq.write_table(table.slice(k * n_rows, n_rows), path, compression="zstd", row_group_size=10_000)
    return paths


def train(paths: list[Path], target: str, memory: str, epochs: int, out: Path) -> float:
    """Train on nine tenths of the rows, and return the R2 on the rest."""
    read = fp.data.from_csv if ".csv" in paths[0].name else fp.data.from_parquet
    data = read(paths, target=target, memory_limit=memory, prepare=True)
    train, test = data.split(0.1, seed=0)
    print(f"{data.n_samples or 'an unknown number of'} rows, {data.n_features} features")

    run = out.with_suffix(".ckpt")
    try:
        net = fp.resume(run)  # or the one before it, should the newest be missing or damaged
        print(f"going on from {run}, after {net.epochs_done} epochs")
    except FileNotFoundError:
        print(f"no checkpoint yet: {run} begins here")
        net = fp.Network(
            [fp.Dense(64, activation="relu"), fp.Dense(64, activation="relu"), fp.Dense(1)],
            loss="mse", optimizer=fp.SGD(lr=0.02, momentum=0.9),
        )  # fmt: skip
    net.fit(train, epochs=epochs, batch_size=256, checkpoint=run, checkpoint_every=30)
    net.save(out)
    for path in (run, run.with_name(run.name + ".previous")):
        path.unlink(missing_ok=True)

    found = net.evaluate(test)
    print(f"R2 {found['r2']:.3f} on the rows that were kept back; the model is {out}")
    return found["r2"]


def main(arguments: list[str] | None = None) -> float:
    """Read the command line; returns the R2."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", type=Path, help=".parquet or .csv files of the same columns")
    parser.add_argument("--target", default="delay", help="the column of numbers to predict")
    parser.add_argument("--memory", default="500MB", help="for rows in memory")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("large_sgd.safetensors"))
    given = parser.parse_args(arguments)
    if given.paths:
        return train(given.paths, given.target, given.memory, given.epochs, given.out)
    with tempfile.TemporaryDirectory() as folder:
        return train(make_flights(Path(folder)), given.target, given.memory, given.epochs, given.out)


if __name__ == "__main__":
    main()
