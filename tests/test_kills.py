"""SIGKILL at random moments of a run that writes checkpoints every 50 ms: it ends in the same bits, time and again."""

import os
import random
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

import fastprop as fp

KINDS = ["batch", "online", "stream"]
SECONDS = 0.25  # that a process lives at most
RUN_SECONDS = 1.0  # that a run takes without kills
FIT = {"progress": False, "n_threads": 1}


def data(kind, folder):
    """What `fit` is called with besides epochs and the checkpoint."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20_000, 20)).astype(np.float32)
    y = X[:, 0] * X[:, 1] + X[:, 2]
    if kind != "stream":
        return {"X": X, "y": y, "batch_size": 1 if kind == "online" else 64, **FIT}
    np.save(folder / "X.npy", X)
    np.save(folder / "y.npy", y)
    stream = fp.data.from_npy(folder / "X.npy", folder / "y.npy", memory_limit="2MB")
    assert stream.load() is None  # it does not fit, and is read window by window
    return {"X": stream, "batch_size": 64, **FIT}


def network():
    layers = [fp.Dense(64, activation="relu"), fp.Dropout(0.1), fp.Dense(64, activation="relu"), fp.Dense(1)]
    return fp.Network(layers, "mse", fp.Adam(1e-3))


def online_network():
    return fp.Network([fp.Dense(32, activation="relu"), fp.Dense(1)], "mse", fp.SGD(1e-3, momentum=0.9))


def bits(net):
    """Weights, the optimizer's state and losses, as bytes."""
    plan, parameters = net._built(), net._parameters
    state = fp.models.portable(plan, parameters)
    arrays = [state["values"], *state["slots"]]
    losses = np.array(net.history_["loss"]).tobytes()
    return [array.tobytes() for group in arrays for array in group.values()], losses, parameters.count


def live(make, options, path, epochs):
    """One life of a run: from its last checkpoint, if there is one."""
    net = fp.resume(path) if path.exists() else make()
    net.fit(**options, epochs=epochs, checkpoint=path, checkpoint_every=0.05)
    return net


def survive(kind, folder, n_kills, seed):
    """Kill runs until they were killed `n_kills` times in all, and compare each that ends."""
    folder, rng = Path(folder), random.Random(seed)
    make = online_network if kind == "online" else network
    options = data(kind, folder)
    for _ in range(2):  # the first may compile
        start = time.perf_counter()
        make().fit(**options, epochs=1)
    epochs = max(2, int(RUN_SECONDS / (time.perf_counter() - start)))
    expected = make()
    expected.fit(**options, epochs=epochs)
    killed = runs = 0
    while killed < n_kills or not runs:
        path = folder / f"{runs}.ckpt"
        while True:
            child = os.fork()
            if child == 0:
                live(make, options, path, epochs)
                os._exit(0)
            time.sleep(rng.uniform(0, SECONDS))
            os.kill(child, signal.SIGKILL)
            status = os.waitpid(child, 0)[1]
            if status == 0:
                break
            assert os.WTERMSIG(status) == signal.SIGKILL, status
            killed += 1
            if path.exists():
                fp.resume(path)  # a warning is an error here: the newest is always whole
        assert len(fp.resume(path).history_["loss"]) == epochs
        assert bits(fp.resume(path)) == bits(expected), f"run {runs} after {killed} kills"
        left = [name for name in os.listdir(folder) if name.startswith(f".{runs}.ckpt.")]
        assert len(left) <= 1, left
        runs += 1
    print(f"{kind}: {killed} kills in {runs} runs of {epochs} epochs")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
@pytest.mark.parametrize("kind", KINDS)
def test_killed_runs_end_in_the_same_bits(kind, tmp_path, long, capsys):
    n_kills = 200 if long else 6
    folders = [Path(fp.__file__).parents[1], Path(__file__).parent]
    done = subprocess.run(
        [sys.executable, __file__, kind, tmp_path, str(n_kills), "0"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))}, capture_output=True, text=True,
        timeout=60 + 3 * n_kills, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    with capsys.disabled():
        print(f" [{done.stdout.strip()}]", end="")


if __name__ == "__main__":
    warnings.simplefilter("error", RuntimeWarning)
    survive(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
