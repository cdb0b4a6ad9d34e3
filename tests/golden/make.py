"""Write the golden set of this version: small models with inputs, and the outputs that later versions must give.

    python tests/golden/make.py

The folder is named after the version. A set that exists is never written over: the files are what users have.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

import golden_networks as networks

import fastprop as fp


def write_network(folder: Path, name: str, net: fp.Network) -> None:
    """A model file, and beside it what it gives for the rows of `networks.X`."""
    path = folder / f"{name}.safetensors"
    net.save(path, extra=networks.EXTRA)
    outputs = {"predict": as_json(net.predict(networks.X))}
    with contextlib.suppress(ValueError):  # the loss gives no probabilities
        outputs["predict_proba"] = as_json(net.predict_proba(networks.X))
    text = json.dumps({"X": networks.X.tolist(), **outputs}, ensure_ascii=False)
    path.with_suffix(".json").write_text(text, encoding="utf-8")


def as_json(values: np.ndarray) -> list[object]:
    """Numbers as they are; other labels as text."""
    return (values if values.dtype.kind in "biuf" else values.astype(str)).tolist()


def write_table(folder: Path, task: str, target: str) -> None:
    """A model with the preparation of its columns, as the command line makes it, the table and its predictions."""
    data, model, out = folder / f"{task}.csv", folder / f"{task}.safetensors", folder / f"{task}.expected.csv"
    data.write_text(networks.TABLE, encoding="utf-8")
    command = [sys.executable, "-m", "fastprop"]
    train = [str(data), "--target", target, "--task", task, "--hidden", "4", "--epochs", "5", "--out", str(model)]
    rows = [row for row in networks.TABLE.splitlines() if ",," not in row or task == "regression"]
    data.write_text("\n".join(rows) + "\n", encoding="utf-8")
    subprocess.run([*command, "train", *train], check=True, capture_output=True)
    subprocess.run([*command, "predict", str(model), str(data), "--out", str(out)], check=True, capture_output=True)


def write_run(folder: Path) -> None:
    """A checkpoint in the middle of an epoch, and what the run has learnt when it goes on to its end."""
    folder.mkdir()
    path, X, y = folder / "run.ckpt", networks.X, networks.NUMBERS
    networks.stopped_run().checkpoint(path)
    data = {"X": X.tolist(), "y": y.tolist(), "X_val": X[:4].tolist(), "y_val": y[:4].tolist()}
    net = fp.resume(path)
    history = net.fit(**{name: np.array(values) for name, values in data.items()}, **networks.FIT)
    weights = {name: array.tolist() for name, array in net.state_dict().items()}
    text = json.dumps({"data": data, "fit": networks.FIT, "weights": weights, "history": dict(history)})
    path.with_suffix(".json").write_text(text, encoding="utf-8")


def main(version: str = fp.__version__) -> None:
    """Write all of it, for a version that has no set."""
    folder = Path(__file__).parent / version
    if folder.exists():
        sys.exit(f"{folder} exists: the files of a release stay as they are")
    folder.mkdir()
    for name, make in networks.NETWORKS.items():
        write_network(folder, name, make())
    for task, target in networks.TABLES.items():
        write_table(folder, task, target)
    write_run(folder / "checkpoints")
    print(f"{sum(path.stat().st_size for path in folder.rglob('*.*'))} bytes in {folder}")


if __name__ == "__main__":
    main()
