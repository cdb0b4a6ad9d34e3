"""Gradients and 50 updates agree with PyTorch to 1e-10 in float64, relative to each array's largest entry.

What PyTorch gave is on file (`record_torch.py` wrote it); where PyTorch is installed, more networks are drawn and
compared live.
"""

import naive
import numpy as np
import pytest
import record_torch as record

BOUND = 1e-10


def compare(case, inputs, expected):
    """Run a case here and compare with PyTorch's results."""
    X, y, sample_weight, initial = inputs
    net = record.network(case)
    net.set_weights(initial)
    loss, gradients = net.gradients(X, y, sample_weight)
    assert loss == pytest.approx(float(expected["loss"]), rel=BOUND)
    for i, gradient in enumerate(naive.arrays(gradients)):
        assert naive.error(gradient, expected[f"gradient_{i}"]) < BOUND

    settings = {"epochs": record.EPOCHS, "batch_size": record.BATCH_SIZE, "shuffle": False, "progress": False}
    history = net.fit(X, y, sample_weight=sample_weight, **settings)
    assert naive.error(history["loss"], expected["losses"]) < BOUND
    assert naive.error(history["lr"], expected["rates"]) < BOUND
    for i, weight in enumerate(naive.arrays(net.get_weights())):
        assert naive.error(weight, expected[f"weight_{i}"]) < BOUND
    statistics = [a for name, a in net.state_dict().items() if "running" in name]
    for i, ours in enumerate(statistics):
        assert naive.error(ours, expected[f"running_{i}"]) < BOUND


def describe(seed):
    case = record.draw(seed)
    return f"{seed}-{case['loss']}-{case['optimizer']}-{(case['schedule'] or ['constant'])[0]}"


@pytest.mark.parametrize("seed", range(record.N_RECORDED), ids=describe)
def test_recorded(seed):
    compare(*record.recorded(seed))


@pytest.mark.parametrize("seed", range(100, 140), ids=describe)
def test_live(seed):
    pytest.importorskip("torch", reason="PyTorch is not installed (pip install 'fastprop-jit[peers]')")
    case = record.draw(seed)
    inputs = record.inputs(case)
    compare(case, inputs, record.run(case, *inputs))


def test_the_record_is_small_and_complete():
    path = record.FOLDER / "torch.npz"
    assert path.stat().st_size < 200_000
    cases = [record.recorded(seed)[0] for seed in range(record.N_RECORDED)]
    for what, every in {
        "loss": naive.LOSSES.keys() | {"cross_entropy"},
        "optimizer": {name for name, *_ in record.OPTIMIZERS},
    }.items():
        assert {case[what] for case in cases} == every
    assert {(case["schedule"] or [None])[0] for case in cases} == {(s or [None])[0] for s in record.SCHEDULES}
    assert {tuple(k for k in ("clip_norm", "clip_value") if k in case) for case in cases} == {
        (), ("clip_norm",), ("clip_value",), ("clip_norm", "clip_value"),
    }  # fmt: skip
    assert any(np.ndim(case["layers"][0]) and case["layers"][0][0] != "dense" for case in cases)
