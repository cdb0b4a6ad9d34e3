"""Networks drawn at random, trained by PyTorch; `python tests/record_torch.py` records the results.

A case is a dict that goes through JSON. Weights, X and y are rounded to float16, so that they are exact in a small
file. Clipping is by the contract's formula, g c / |g| where |g| > c; everything else is PyTorch's own.
"""

import json
from pathlib import Path

import covering
import naive
import numpy as np

import fastprop as fp

FOLDER = Path(__file__).parent / "recorded"
N_RECORDED = 26
N_ROWS, BATCH_SIZE, EPOCHS = 48, 10, 10  # 50 updates, the last of an epoch on 8 rows

OPTIMIZERS = (
    ("SGD", {}, 0.05),
    ("SGD", {"momentum": 0.9}, 0.01),
    ("SGD", {"momentum": 0.8, "nesterov": True, "weight_decay": 0.01}, 0.02),
    ("RMSProp", {"alpha": 0.9, "weight_decay": 0.02}, 1e-3),
    ("Adagrad", {"lr_decay": 0.01, "weight_decay": 0.01}, 0.02),
    ("Adam", {"betas": [0.8, 0.99], "weight_decay": 0.03}, 3e-3),
    ("AdamW", {"weight_decay": 0.1}, 2e-3),
    ("SGD", {"weight_decay": 0.1}, 0.03),
    ("Adam", {}, 1e-3),
    ("RMSProp", {}, 2e-3),
    ("Adagrad", {}, 0.01),
)
SCHEDULES = (
    None,
    ("Step", {"every": 7, "factor": 0.5}),
    ("Exponential", {"rate": 0.97}),
    ("Cosine", {"steps": 60, "lr_min": 1e-4}),
    ("OneCycle", {"steps": 55}),
    ("Warmup", {"steps": 12}),
    ("InverseScaling", {"power": 0.3}),
    ("Plateau", {"patience": 0, "factor": 0.5}),
)
CLIPPING = ({}, {"clip_norm": 0.3}, {"clip_value": 0.02}, {"clip_value": 0.05, "clip_norm": 0.2}, {"clip_norm": 1e3})


# ---- cases --------------------------------------------------------------------------------------------------------


def draw(seed):
    """Case number `seed`: losses, optimizers, schedules and clipping in turn, everything else at random."""
    rng = np.random.default_rng(seed)
    loss, n_outputs, kind = covering.LOSSES[seed % len(covering.LOSSES)]
    weights = None if isinstance(loss, str) else loss.output_weights
    name, settings, lr = OPTIMIZERS[seed % len(OPTIMIZERS)]
    n_features = int(rng.integers(2, 7))
    layers = _layers(rng, n_features)
    if rng.random() < 0.3:
        layers = [["layer_norm"], *layers] if n_features > 3 else [["batch_norm"], *layers]
    last = "identity" if rng.random() < 0.7 else ["tanh", "softplus", "x_tanh"][rng.integers(3)]
    layers.append(["dense", n_outputs, last, True])
    penalties = {"l1": 1e-3, "l2": 1e-2} if rng.random() < 0.4 else {}
    return {
        "seed": seed, "n_features": n_features, "layers": layers, "n_outputs": n_outputs, "kind": kind,
        "loss": covering.loss_name(seed % len(covering.LOSSES)),
        "fields": {} if isinstance(loss, str) else loss.kernel._asdict(),
        "output_weights": None if weights is None else weights.tolist(),
        "optimizer": name, "settings": settings, "lr": lr, "schedule": SCHEDULES[seed // 3 % len(SCHEDULES)],
        "weighted": bool(rng.random() < 0.5), **penalties, **CLIPPING[seed // 2 % len(CLIPPING)],
    }  # fmt: skip


def _layers(rng, width, depth=0):
    """A few layers. A bias does not feed a batch norm: its gradient would be rounding, which Adam makes steps of.

    A layer norm's beta still may, through a linear layer: of the seeds up to 300 it does in 148 and 209, unused here.
    """
    layers = []
    for _ in range(rng.integers(1, 4 - depth)):
        kind = rng.choice(["dense", "dense", "layer_norm", "batch_norm", "residual"])
        if kind == "residual" and depth < 2:
            inner = _layers(rng, width, depth + 1)
            layers.append(["residual", [*inner, _dense(rng, width)]])
        else:
            width = int(rng.integers(4, 10))
            layers.append(_dense(rng, width))
        if kind == "layer_norm":
            layers.append(["layer_norm"])
        elif kind == "batch_norm":
            layers[-1][3] = False
            layers.append(["batch_norm"])
    return layers


def _dense(rng, width):
    return ["dense", width, str(rng.choice(covering.ACTIVATIONS)), bool(rng.random() < 0.8)]


def _layer(description):
    kind, *rest = description
    if kind == "residual":
        return fp.Residual([_layer(inner) for inner in rest[0]])
    if kind == "dense":
        return fp.Dense(rest[0], rest[1], bias=rest[2])
    return {"layer_norm": fp.LayerNorm, "batch_norm": fp.BatchNorm}[kind]()


def rate(case):
    """The learning rate as fastprop's optimizers take it."""
    if case["schedule"] is None:
        return case["lr"]
    name, fields = case["schedule"]
    return getattr(fp.schedules, name)(case["lr"], **fields)


def network(case):
    """fastprop's network of a case."""
    loss = fp.losses.PUBLIC[case["loss"]](**case["fields"], output_weights=case["output_weights"])
    return fp.Network(
        [_layer(d) for d in case["layers"]], loss=loss,
        optimizer=getattr(fp, case["optimizer"])(rate(case), **case["settings"]), dtype="float64", seed=case["seed"],
        **{name: case[name] for name in ("l1", "l2", "clip_value", "clip_norm") if name in case},
    )  # fmt: skip


def inputs(case):
    """X, y, sample weights (or None) and initial weights, all exact in float16."""
    rng = np.random.default_rng([case["seed"], 1])
    X = rng.normal(size=(N_ROWS, case["n_features"])).astype(np.float16)
    if case["kind"] == "labels":
        y = rng.integers(0, max(2, case["n_outputs"]), N_ROWS).astype(np.int8)
    else:
        y, _ = covering.targets(case["loss"], N_ROWS, case["n_outputs"], case["kind"], rng)
        y = y.astype(np.float16)
    sample_weight = rng.uniform(0.2, 2.0, N_ROWS).astype(np.float16) if case["weighted"] else None
    net = network(case).build(case["n_features"])
    shifted = [p + 0.1 * rng.normal(size=p.shape) for p in naive.arrays(net.get_weights())]
    return X, y, sample_weight, naive.paired([p.astype(np.float16) for p in shifted], net.get_weights())


# ---- PyTorch ------------------------------------------------------------------------------------------------------


class TorchNetwork:
    """A case in PyTorch, float64."""

    def __init__(self, case, pairs):
        import torch

        self.torch, self.F, self.case = torch, torch.nn.functional, case
        tensor = lambda a: torch.tensor(np.asarray(a, np.float64), requires_grad=True)  # noqa: E731
        self.pairs = [tuple(None if a is None else tensor(a) for a in pair) for pair in pairs]
        self.running = {}

    @property
    def parameters(self):
        return [p for pair in self.pairs for p in pair if p is not None]

    def activation(self, name, z):
        F, torch = self.F, self.torch
        return {
            "identity": lambda z: z,
            "relu": F.relu,
            "leaky_relu": F.leaky_relu,
            "elu": F.elu,
            "selu": F.selu,
            "gelu": F.gelu,
            "silu": F.silu,
            "softplus": lambda z: F.softplus(z, threshold=500),
            "sigmoid": torch.sigmoid,
            "tanh": torch.tanh,
            "softsign": F.softsign,
            "hard_tanh": F.hardtanh,
            "x_tanh": lambda z: z * torch.tanh(z),
        }[name](z)

    def forward(self, x, layers, pairs, training):
        for layer in layers:
            if layer[0] == "residual":
                x = x + self.forward(x, layer[1], pairs, training)
            elif layer[0] == "dense":
                W, b = next(pairs)
                x = self.activation(layer[2], self.F.linear(x, W.T, b))
            elif layer[0] == "layer_norm":
                gamma, beta = next(pairs)
                x = self.F.layer_norm(x, gamma.shape, gamma, beta)
            else:
                gamma, beta = next(pairs)
                fresh = self.torch.zeros_like(gamma), self.torch.ones_like(gamma)
                mean, variance = self.running.setdefault(id(gamma), tuple(t.detach() for t in fresh))
                copies = (mean, variance) if training else (mean.clone(), variance.clone())
                x = self.F.batch_norm(x, *copies, gamma, beta, training=True)
        return x

    def loss(self, X, y, w, training=True):
        """The loss of a batch with penalties."""
        F, torch, case = self.F, self.torch, self.case
        p = self.forward(X, case["layers"], iter(self.pairs), training)
        k, name, fields = case["n_outputs"], case["loss"], case["fields"]
        losses = {
            "mse": lambda: F.mse_loss(p, y, reduction="none"),
            "squared_error": lambda: 0.5 * F.mse_loss(p, y, reduction="none"),
            "mae": lambda: F.l1_loss(p, y, reduction="none"),
            "huber": lambda: F.huber_loss(p, y, reduction="none", **fields),
            "quantile": lambda: torch.maximum(fields["q"] * (y - p), (fields["q"] - 1) * (y - p)),
            "poisson": lambda: F.poisson_nll_loss(p, y, reduction="none"),
            "bce": lambda: F.binary_cross_entropy_with_logits(p, y, reduction="none"),
            "hinge": lambda: F.relu(1 - y * p),
            "squared_hinge": lambda: F.relu(1 - y * p) ** 2,
            "modified_huber": lambda: torch.where(y * p >= -1, F.relu(1 - y * p) ** 2, -4 * y * p),
        }
        c = torch.tensor([1.0] * k if case["output_weights"] is None else case["output_weights"], dtype=torch.float64)
        if name == "cross_entropy":
            rows = F.cross_entropy(p, y, weight=c, reduction="none", label_smoothing=fields.get("label_smoothing", 0.0))
        else:
            rows = (losses[name]() * (c if name == "squared_error" else c / c.sum())).sum(dim=1)
        loss = (w * rows).sum() / w.sum()
        for W, _ in self.pairs:
            if W.ndim == 2:
                loss = loss + case.get("l1", 0.0) * W.abs().sum() + 0.5 * case.get("l2", 0.0) * (W**2).sum()
        return loss

    def optimizer(self):
        names = {"RMSProp": "RMSprop"}
        cls = getattr(self.torch.optim, names.get(self.case["optimizer"], self.case["optimizer"]))
        return cls(self.parameters, lr=self.case["lr"], **self.case["settings"])

    def scheduler(self, optimizer):
        """PyTorch's schedule of the same name, or the formula where it has none."""
        schedulers, lr = self.torch.optim.lr_scheduler, self.case["lr"]
        name, fields = self.case["schedule"] or ("none", {})
        steps = fields.get("steps")
        return {
            "none": lambda: schedulers.LambdaLR(optimizer, lambda t: 1.0),
            "Step": lambda: schedulers.StepLR(optimizer, fields["every"], fields["factor"]),
            "Exponential": lambda: schedulers.ExponentialLR(optimizer, fields["rate"]),
            "Cosine": lambda: schedulers.CosineAnnealingLR(optimizer, steps, fields["lr_min"]),
            "OneCycle": lambda: schedulers.OneCycleLR(optimizer, lr, total_steps=steps, cycle_momentum=False),
            "Warmup": lambda: schedulers.LinearLR(optimizer, 1 / steps, 1.0, steps - 1),
            "InverseScaling": lambda: schedulers.LambdaLR(optimizer, lambda t: (t + 1) ** -fields["power"]),
            "Plateau": lambda: schedulers.ReduceLROnPlateau(optimizer, **fields),
        }[name]()

    def clip(self):
        gradients = [p.grad for p in self.parameters]
        if "clip_value" in self.case:
            for g in gradients:
                g.clamp_(-self.case["clip_value"], self.case["clip_value"])
        if "clip_norm" in self.case:
            norm = sum((g**2).sum() for g in gradients).sqrt()
            if norm > self.case["clip_norm"]:
                for g in gradients:
                    g.mul_(self.case["clip_norm"] / norm)


def run(case, X, y, sample_weight, pairs):
    """Gradients on all rows, then 50 updates by PyTorch.

    Returns
    -------
    dict of arrays
        "loss" and "gradient_0"... on all rows; "losses" and "rates" of epochs; in the end "weight_0"..., "running_0"...
    """
    net = TorchNetwork(case, pairs)
    torch = net.torch
    if case["kind"] == "labels":
        low = -1.0 if case["loss"] in ("hinge", "squared_hinge", "modified_huber") else 0.0
        y = naive.one_hot(y, max(2, case["n_outputs"]), low)[:, -case["n_outputs"] :]
    X, y = (torch.tensor(np.asarray(a, np.float64)) for a in (X, y))
    w = torch.tensor(np.ones(N_ROWS) if sample_weight is None else sample_weight.astype(np.float64))
    loss = net.loss(X, y, w, training=False)
    loss.backward()
    results = {"loss": loss.item(), **{f"gradient_{i}": p.grad.numpy().copy() for i, p in enumerate(net.parameters)}}
    net.running.clear()

    optimizer = net.optimizer()
    scheduler = net.scheduler(optimizer)
    results["losses"], results["rates"] = [], []
    for _ in range(EPOCHS):
        total = 0.0
        for start in range(0, N_ROWS, BATCH_SIZE):
            rows = slice(start, start + BATCH_SIZE)
            optimizer.zero_grad()
            loss = net.loss(X[rows], y[rows], w[rows])
            loss.backward()
            net.clip()
            optimizer.step()
            total += loss.item() * w[rows].sum().item()
            lr = optimizer.param_groups[0]["lr"]
            if not isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
                scheduler.step()
        results["losses"].append(total / w.sum().item())
        results["rates"].append(lr)
        if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
            scheduler.step(results["losses"][-1])
    results |= {f"weight_{i}": p.detach().numpy() for i, p in enumerate(net.parameters)}
    statistics = [t.numpy() for p in net.parameters if id(p) in net.running for t in net.running[id(p)]]
    return {**results, **{f"running_{i}": t for i, t in enumerate(statistics)}}


# ---- files --------------------------------------------------------------------------------------------------------


def record():
    """Write all recorded cases: a few vectors each, for a file has 250 bytes of names an array."""
    FOLDER.mkdir(exist_ok=True)
    file = {}
    for seed in range(N_RECORDED):
        case = draw(seed)
        X, y, sample_weight, pairs = inputs(case)
        given = {"X": X, "y": y, **({} if sample_weight is None else {"sample_weight": sample_weight})}
        given |= {f"initial_{i}": a for i, a in enumerate(naive.arrays(pairs))}
        results = run(case, X, y, sample_weight, pairs)
        shapes = [{name: np.shape(a) for name, a in arrays.items()} for arrays in (given, results)]
        file[f"{seed}_case"] = np.bytes_(json.dumps([case, *shapes]).encode())
        file[f"{seed}_given"] = flattened(given).astype(np.float16)
        file[f"{seed}_results"] = flattened(results)
    np.savez_compressed(FOLDER / "torch.npz", **file)


def flattened(arrays):
    return np.concatenate([np.ravel(a) for a in arrays.values()])


def cut(vector, shapes):
    """The reverse of `flattened`."""
    ends = np.cumsum([np.prod(shape, dtype=int) for shape in shapes.values()])[:-1]
    return {n: part.reshape(s) for (n, s), part in zip(shapes.items(), np.split(vector, ends), strict=True)}


def recorded(seed):
    """A case, its inputs (X, y, sample weights, initial weights) and PyTorch's results."""
    with np.load(FOLDER / "torch.npz") as file:
        case, *shapes = json.loads(file[f"{seed}_case"].item())
        given, results = cut(file[f"{seed}_given"], shapes[0]), cut(file[f"{seed}_results"], shapes[1])
    like = network(case).build(case["n_features"]).get_weights()
    initial = naive.paired([given[f"initial_{i}"] for i in range(len(naive.arrays(like)))], like)
    y = given["y"].astype(np.int8) if case["kind"] == "labels" else given["y"]
    return case, (given["X"], y, given.get("sample_weight"), initial), results


if __name__ == "__main__":
    record()
