"""`to_torch`: modules with the same weights that give the same raw outputs, and train as torch's own."""

from __future__ import annotations

import numpy as np
import pytest
from export_networks import LOSSES, PAIRS, X, activations, network, of_activation, of_layers, of_loss

import fastprop as fp

torch = pytest.importorskip("torch")


def check(net, rtol=None):
    tolerance = rtol or {"float64": 1e-12, "float32": 1e-5}[net.dtype]
    module = net.to_torch().eval()
    with torch.no_grad():
        got = module(torch.tensor(X, dtype=getattr(torch, net.dtype)))
    assert got.dtype == getattr(torch, net.dtype)
    np.testing.assert_allclose(got.numpy(), net._raw(X), tolerance, tolerance)
    return module


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", activations(), ids=str)
def test_activations(activation, dtype):
    check(of_activation(activation, dtype))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_layers(dtype):
    module = check(of_layers(dtype))
    assert isinstance(module, torch.nn.Sequential)
    norm = module[3]
    assert isinstance(norm, torch.nn.BatchNorm1d)
    assert (norm.momentum, norm.eps, module[4].p) == (0.3, 1e-2, 0.2)


@pytest.mark.parametrize("loss", LOSSES)
def test_raw_outputs_of_losses(loss):
    check(of_loss(loss))


@pytest.mark.parametrize(("loss", "last", "n"), [("bce", "sigmoid", 1), ("cross_entropy", "softmax", 2)])
def test_a_last_activation_that_the_loss_applies_is_left_to_torchs_loss(loss, last, n):
    net = network([fp.Dense(n, last)], loss, np.arange(len(X)) % 2)
    assert [type(m).__name__ for m in check(net)] == ["Linear"]


def test_it_trains_as_ours():
    """One step of SGD in training mode, batch norm with it: the same weights and running statistics."""
    net = network([fp.Dense(3, "softplus"), fp.BatchNorm(), fp.Residual([fp.Dense(3, "tanh")]), fp.Dense(2)], y=PAIRS)
    module = net.to_torch()
    assert module.training
    optimizer = torch.optim.SGD(module.parameters(), 0.01)
    torch.nn.functional.mse_loss(module(torch.tensor(X)), torch.tensor(PAIRS)).backward()
    optimizer.step()
    net.partial_fit(X, PAIRS)
    check_state = [p.detach().numpy() for p in module.state_dict().values() if p.ndim]
    ours = [array.T if array.ndim == 2 else array for array in net.state_dict().values()]
    for theirs, array in zip(check_state, ours, strict=True):
        np.testing.assert_allclose(theirs, array, 1e-10, 1e-12)


def test_copies():
    net = network([fp.Dense(1)])
    before = net.get_weights()[0][0]
    with torch.no_grad():
        net.to_torch()[0].weight.zero_()
    np.testing.assert_array_equal(net.get_weights()[0][0], before)


def test_what_torch_cannot_have():
    @fp.activation
    class TorchlessCube:
        def value(self, z):
            return z * z * z

        def derivative(self, z, a):
            return 3.0 * z * z

    net = fp.Network([fp.Dense(2, TorchlessCube), fp.Dense(1)]).build(2)
    with pytest.raises(ValueError, match=r"activation 'torchless_cube' of layers\.0.*not one of fastprop's own"):
        net.to_torch()
    with pytest.raises(ValueError, match="no weights yet"):
        fp.Network([fp.Dense(1)]).to_torch()
