"""Training, evaluating and predicting on datasets: what data in memory would give."""

from __future__ import annotations

import gc
import re
import threading

import numpy as np
import pytest
from scipy import sparse

import fastprop as fp
from fastprop import data

N = 5_003
RNG = np.random.default_rng(0)
X = RNG.standard_normal((N, 6)).astype("f4")
TARGET = (X @ RNG.standard_normal(6) + X[:, 0] * X[:, 1]).astype("f4")
LABELS = np.array(["no", "yes"])[(TARGET > 0).astype(int)]
THREE = np.digitize(TARGET, [-1, 1])


def saved(folder, X=X, y=TARGET, memory_limit="64kB", **options):
    """The dataset of .npy files, in windows of some 300 rows."""
    np.save(folder / "X.npy", X)
    np.save(folder / "y.npy", y)
    return data.from_npy(folder / "X.npy", folder / "y.npy", memory_limit=memory_limit, **options)


def regressor(**options):
    return fp.Network([fp.Dense(9, activation="tanh"), fp.Dense(1)], loss="mse", seed=3, **options)


def classifier(n=3, **options):
    loss = "bce" if n == 1 else "cross_entropy"
    return fp.Network([fp.Dense(9, activation="relu"), fp.Dense(n)], loss=loss, seed=3, **options)


def assert_same_weights(a, b):
    for name, array in a.state_dict().items():
        np.testing.assert_array_equal(array, b.state_dict()[name], err_msg=name)


KINDS = {
    "batch": (regressor, TARGET, {}),
    "samples": (regressor, TARGET, {"batch_size": 1}),
    "accumulate": (regressor, TARGET, {"accumulate": 3, "batch_size": 17}),
    "labels": (classifier, THREE, {}),
    "text": (lambda: classifier(1), LABELS, {}),
    "class weights": (classifier, THREE, {"class_weight": {0: 2.0, 2: 0.5}}),
    "balanced": (classifier, THREE, {"class_weight": "balanced"}),
    "no weight": (classifier, THREE, {"class_weight": {1: 0.0}, "batch_size": 1}),
    "soft": (lambda: classifier(2), np.column_stack([LABELS == "no", LABELS == "yes"]).astype("f4"), {}),
    "probabilities": (lambda: classifier(1), 1 / (1 + np.exp(-TARGET)), {}),
    "one cycle": (lambda: regressor(optimizer=fp.Adam(lr=fp.schedules.OneCycle(0.01, 300))), TARGET, {}),
    "l2": (lambda: regressor(l2=0.1, clip_norm=1.0), TARGET, {}),
    "float64": (lambda: regressor(dtype="float64"), TARGET.astype("f8"), {}),
    "dropout": (
        lambda: fp.Network([fp.Dense(9, activation="relu"), fp.Dropout(0.3), fp.BatchNorm(), fp.Dense(1)], seed=1),
        TARGET,
        {},
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_without_shuffling_the_bits_are_those_of_data_in_memory(tmp_path, kind):
    make, y, options = KINDS[kind]
    options = {"epochs": 2, "batch_size": 32, "shuffle": False, "progress": False} | options
    streamed, whole = make(), make()
    history = streamed.fit(saved(tmp_path, y=y), **options)
    expected = whole.fit(X, y, **options)
    assert_same_weights(streamed, whole)
    np.testing.assert_allclose(history["loss"], expected["loss"], rtol=1e-12)
    assert history["lr"] == expected["lr"]
    assert len(history["waited"]) == 2
    if whole.classes_ is not None:
        np.testing.assert_array_equal(streamed.classes_, whole.classes_)


def test_the_bits_depend_on_neither_threads_nor_luck(tmp_path):
    dataset = saved(tmp_path)
    nets = [regressor() for _ in range(3)]
    for net, n_threads in zip(nets, (1, 2, None), strict=True):
        net.fit(dataset, epochs=2, batch_size=64, n_threads=n_threads)
    assert_same_weights(nets[0], nets[1])
    assert_same_weights(nets[0], nets[2])


def test_epochs_and_fits_differ_in_order(tmp_path):
    dataset = saved(tmp_path)
    once, twice, two = regressor(), regressor(), regressor()
    once.fit(dataset, epochs=1)
    twice.fit(dataset, epochs=1)
    twice.fit(dataset, epochs=1)
    two.fit(dataset, epochs=2)
    assert_same_weights(twice, two)
    assert twice.history_["loss"] != once.history_["loss"]


def test_csr_batches(tmp_path):
    S = sparse.random_array((2_000, 40), density=0.1, format="csr", rng=np.random.default_rng(1), dtype="f4")
    y = np.asarray(S.sum(axis=1)).ravel()
    batches = [(S[i : i + 90], y[i : i + 90]) for i in range(0, 2_000, 90)]
    streamed, whole = regressor(), regressor()
    streamed.fit(data.from_batches(lambda: iter(batches), memory_limit="64kB"), epochs=2, batch_size=16, shuffle=False)
    whole.fit(S, y, epochs=2, batch_size=16, shuffle=False)
    assert_same_weights(streamed, whole)


def test_csr_batches_that_become_denser():
    density = np.repeat([0.01, 0.4], 1_000)
    rng = np.random.default_rng(1)
    S = sparse.csr_array(np.where(rng.random((2_000, 40)) < density[:, None], 1, 0).astype("f4"))
    y = np.asarray(S.sum(axis=1)).ravel()
    batches = [(S[i : i + 90], y[i : i + 90]) for i in range(0, 2_000, 90)]
    dataset = data.from_batches(lambda: iter(batches), memory_limit="64kB", n_samples=2_000)
    streamed, whole = regressor(), regressor()
    options = {"epochs": 2, "batch_size": 7, "accumulate": 3, "shuffle": False}
    history = streamed.fit(dataset, **options)
    assert "waited" in history
    assert history["lr"] == whole.fit(S, y, **options)["lr"]
    assert_same_weights(streamed, whole)
    assert dataset.load() is None


def test_data_that_fit_are_trained_in_memory(tmp_path):
    dataset = saved(tmp_path, memory_limit="100MB")
    streamed, whole = regressor(), regressor()
    history = streamed.fit(dataset, epochs=2, validation_fraction=0.2)
    whole.fit(X, TARGET, epochs=2, validation_fraction=0.2)
    assert_same_weights(streamed, whole)
    assert "waited" not in history


def test_each_window_has_an_order_of_its_own():
    """Of 8 windows of the same rows one row counts, that of the update that moves the bias: where it comes differs."""
    rows = np.zeros((64, 1), "f4")
    y = np.arange(64, dtype="f4")

    class Watch:
        every = 1
        biases: list[float] = []  # noqa: RUF012  one network is watched

        def on_step(self, net, step, logs):
            self.biases.append(float(net.get_weights()[0][1][0]))

    net = fp.Network([fp.Dense(1)], loss="mse", seed=0, optimizer=fp.SGD(lr=0.5))
    dataset = data.from_batches(lambda: iter([(rows, y)] * 8), memory_limit=8 * 64 * 8)
    assert dataset.window_rows(1) == 64
    net.fit(dataset, epochs=1, batch_size=1, callbacks=Watch())
    orders = np.reshape(Watch.biases, (8, 64))[:, 1:]  # the first moves by what was before, too
    assert len(np.unique(orders.round(2), axis=0)) == 8


# ---- the hard case ------------------------------------------------------------------------------------------------


def test_rows_sorted_by_label(tmp_path):
    """Blocks from all over the file make each window an even sample: the test loss is that of full shuffling."""
    rng = np.random.default_rng(5)
    many = rng.standard_normal((60_000, 6)).astype("f4")
    y = (np.sin(2 * many[:, 0]) + many[:, 1] * many[:, 2] + 0.3 * rng.standard_normal(60_000) > 0).astype(int)
    test, y_test = many[50_000:], y[50_000:]
    many, y = many[:50_000], y[:50_000]
    order = np.argsort(y, kind="stable")
    dataset = saved(tmp_path, many[order], y[order], memory_limit="1.2MB")
    losses = []
    for train in ((dataset,), (many, y)):
        for seed in range(3):  # one alone is 0.99 to 1.02, by chance
            net = fp.Network([fp.Dense(32, activation="relu"), fp.Dense(2)], loss="cross_entropy", seed=seed)
            net.fit(*train, epochs=1, batch_size=64)
            losses.append(net.evaluate(test, y_test)["loss"])
    assert dataset.window_rows(64) < len(y) / 8
    assert np.mean(losses[:3]) < 1.02 * np.mean(losses[3:])


# ---- using --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["batch", "labels", "text", "soft", "probabilities"])
def test_evaluate_and_predict_window_by_window(tmp_path, kind):
    make, y, _ = KINDS[kind]
    dataset, net = saved(tmp_path, y=y), make()
    net.fit(X, y, epochs=2)
    for name, value in net.evaluate(X, y).items():
        assert net.evaluate(dataset)[name] == pytest.approx(value, rel=1e-6)
    np.testing.assert_array_equal(net.predict(dataset), net.predict(X))
    if net.loss.task != "regression":
        np.testing.assert_array_equal(net.predict_proba(dataset), net.predict_proba(X))


def test_several_outputs(tmp_path):
    y = np.column_stack([TARGET, TARGET**2])
    net = fp.Network([fp.Dense(9, activation="tanh"), fp.Dense(2)])
    dataset = saved(tmp_path, y=y)
    net.fit(dataset, epochs=2)
    np.testing.assert_array_equal(net.predict(dataset), net.predict(X))
    assert net.evaluate(dataset)["r2"] == pytest.approx(net.evaluate(X, y)["r2"], rel=1e-9)


def test_validation(tmp_path):
    dataset = saved(tmp_path)
    train, held = dataset.split(0.2, seed=3)
    by_hand, by_fraction, in_memory = regressor(), regressor(), regressor()
    histories = [
        by_hand.fit(train, epochs=3, X_val=held, early_stopping=2),
        by_fraction.fit(dataset, epochs=3, validation_fraction=0.2, early_stopping=2),
        in_memory.fit(train, epochs=3, X_val=X[:100], y_val=TARGET[:100]),
    ]
    assert histories[0]["val_loss"] == histories[1]["val_loss"]
    assert_same_weights(by_hand, by_fraction)
    assert histories[2]["val_loss"][-1] == pytest.approx(in_memory.evaluate(X[:100], TARGET[:100])["loss"])


def test_validation_rows_that_do_not_fit(tmp_path):
    dataset, net = saved(tmp_path), regressor()
    history = net.fit(X, TARGET, epochs=2, X_val=dataset)
    assert history["val_loss"][-1] == pytest.approx(net.evaluate(X, TARGET)["loss"], rel=1e-6)


def readers():
    return [thread for thread in threading.enumerate() if thread.name == "fastprop-reader"]


@pytest.mark.parametrize("name", ["x.txt", "folder/x.npy", "x.npy"])
def test_a_file_that_cannot_be_written_is_refused_before_anything_is_read(tmp_path, name):
    net = regressor()
    net.fit(X, TARGET, epochs=1)
    dataset = saved(tmp_path, np.full_like(X, np.nan))
    (tmp_path / "x.npy").mkdir()
    with pytest.raises((ValueError, OSError), match=r"go to a \.npy, \.csv|no such folder|got the folder") as error:
        net.predict(dataset, out=tmp_path / name)
    assert not isinstance(error.value, fp.FileError)
    assert not readers()


@pytest.mark.parametrize("kind", ["batch", "labels", "text", "soft"])
@pytest.mark.parametrize("proba", [False, True])
def test_predictions_in_files(tmp_path, kind, proba):
    import pyarrow.parquet as pq

    make, y, _ = KINDS[kind]
    net = make()
    net.fit(X, y, epochs=1)
    call = net.predict_proba if proba else net.predict
    if proba and net.loss.task == "regression":
        with pytest.raises(ValueError, match="predict_proba needs a loss"):
            call(saved(tmp_path), out=tmp_path / "p.parquet")
        return
    call(saved(tmp_path), out=tmp_path / "p.parquet")
    table = pq.read_table(tmp_path / "p.parquet")
    found = np.column_stack([column.to_numpy() for column in table.columns])
    np.testing.assert_array_equal(found if proba else found[:, 0], call(X))
    assert table.column_names == ([f"p({label})" for label in net.classes_.tolist()] if proba else ["prediction"])


def test_rows_without_a_prediction_are_told(tmp_path):
    bad = X.copy()
    bad[::1_000, 3] = np.inf
    net = regressor()
    net.fit(X, TARGET, epochs=1)
    dataset = saved(tmp_path, bad, on_bad_rows="skip")
    rows = ", ".join(f"{tmp_path}/X.npy row {row}" for row in range(0, 5_000, 1_000))
    with pytest.warns(
        RuntimeWarning, match=re.escape(f"6 bad rows of {tmp_path}/X.npy left out, without a prediction: {rows}, ...")
    ):
        predicted = net.predict(dataset)
    np.testing.assert_array_equal(predicted, net.predict(np.delete(X, np.arange(0, N, 1_000), 0)))
    with pytest.warns(RuntimeWarning, match=r"6 bad rows of .* not counted in the metrics$") as told:
        net.evaluate(dataset)
    assert told[0].filename == __file__
    net.fit(X, TARGET, X_val=dataset, epochs=1)  # without a word in every epoch
    (tmp_path / "rows.csv").write_text("a,b,c,d,e,f\n1,1,1,1,1,1\n1,2\n3,1,1,1,1,\n1,1,1,1,1,2\n1\n")
    with pytest.warns(RuntimeWarning, match=r"3 bad rows of .* without a prediction: .* row 1, .* row 4, .* row 2$"):
        assert len(net.predict(data.from_csv(tmp_path / "rows.csv", on_bad_rows="skip"))) == 2


# ---- errors -------------------------------------------------------------------------------------------------------


def test_a_bad_row_leaves_the_weights_of_the_last_step(tmp_path):
    bad = X.copy()
    bad[3_000, 2] = np.nan
    net, expected = regressor(), regressor()
    with pytest.raises(fp.FileError, match=r"X\.npy, row 3000, column 2: X must be finite, got nan"):
        net.fit(saved(tmp_path, bad), epochs=1, shuffle=False, batch_size=32)
    n_rows = saved(tmp_path, bad).window_rows(32)
    n_done = 3_000 // n_rows * n_rows - (n_rows if 3_000 % n_rows == 0 else 0)
    expected.fit(X[:n_done], TARGET[:n_done], epochs=1, shuffle=False, batch_size=32)
    assert net._parameters.count in (n_done // 32, n_done // 32 - n_rows // 32)
    if net._parameters.count == n_done // 32:
        assert_same_weights(net, expected)
    net.fit(saved(tmp_path), epochs=1)  # and the network can be used


def test_bad_rows_are_counted(tmp_path):
    bad = X.copy()
    bad[::100, 3] = np.inf
    good = np.delete(np.arange(N), np.arange(0, N, 100))
    net, expected = regressor(), regressor()
    options = {"epochs": 2, "shuffle": False, "batch_size": 32}
    history = net.fit(saved(tmp_path, bad, on_bad_rows="skip"), **options)
    assert history["skipped"] == [51, 51]
    expected.fit(X[good], TARGET[good], **options)
    assert_same_weights(net, expected)
    in_memory = saved(tmp_path, bad, on_bad_rows="skip", memory_limit="1GB")
    assert regressor().fit(in_memory, epochs=2)["skipped"] == [51, 51]


def test_a_label_never_seen(tmp_path):
    net = classifier()
    net.fit(X, THREE, epochs=1)
    y = THREE.copy()
    y[4_000] = 9
    with pytest.raises(fp.FileError, match="row 4000: the label 9 was never seen before"):
        net.fit(saved(tmp_path, y=y), epochs=1)
    assert net.fit(saved(tmp_path, y=y, on_bad_rows="skip"), epochs=1)["skipped"] == [1]


LIMITS = pytest.mark.parametrize("limit", ["64kB", "1GB"])  # read window by window, or held in memory


@LIMITS
def test_what_a_network_cannot_use_in_memory_and_streamed(tmp_path, limit):
    y = THREE.astype("f8")
    y[4_000] = 9
    wide = X.astype("f8")
    wide[77, 1] = 1e300
    net = classifier()
    net.fit(X, THREE, epochs=1)
    with pytest.raises(fp.FileError, match=r"y\.npy, row 4000: the label 9\.0 was never seen before"):
        net.fit(saved(tmp_path, y=y, memory_limit=limit), epochs=1, shuffle=False)
    with pytest.raises(fp.FileError, match=r"y\.npy, row 4000: the label 9\.0 was never seen before"):
        net.fit(X, THREE, X_val=saved(tmp_path, y=y, memory_limit=limit), epochs=1)
    with pytest.raises(fp.FileError, match=r"X\.npy, row 77, column 1: X must be finite, got inf"):
        net.fit(saved(tmp_path, wide, THREE, memory_limit=limit), epochs=1, shuffle=False)
    dataset = saved(tmp_path, wide, y, memory_limit=limit, on_bad_rows="skip")
    history = net.fit(dataset, epochs=1, X_val=dataset)
    assert history["skipped"] == [2]
    assert isinstance(history["skipped"][0], int)
    assert net.classes_.tolist() == [0, 1, 2]
    with pytest.raises(fp.FileError, match="row 9: the target must be finite, got inf"):
        regressor().fit(
            saved(tmp_path, y=np.where(np.arange(N) == 9, 1e300, TARGET.astype("f8")), memory_limit=limit), epochs=1
        )


def soft(n=3):
    """One-hot targets, row 4,000 with another sum."""
    y = np.eye(n)[THREE]
    y[4_000] = 0.9
    return y


@LIMITS
@pytest.mark.parametrize(
    ("loss", "n", "y", "what"),
    [
        ("poisson", 1, np.where(np.arange(N) == 4_000, -1.0, 2.0), r">= 0 for the loss poisson, got -1\.0"),
        (
            "bce",
            3,
            np.where(np.arange(N) == 4_000, 2, THREE > 0)[:, None].repeat(3, 1),
            r"within 0\.\.1 .* bce, got \[2 2",
        ),
        ("cross_entropy", 3, soft(), r"of sum 1, for the loss cross_entropy, got \[0\.9 0\.9 0\.9\]"),
    ],
)
def test_targets_that_a_loss_cannot_take(tmp_path, limit, loss, n, y, what):
    def make():
        return fp.Network([fp.Dense(n)], loss=loss, seed=0)

    options = {"epochs": 1, "shuffle": False}
    with pytest.raises(fp.FileError, match=rf"y\.npy, row 4000: the target must be .*{what}"):
        make().fit(saved(tmp_path, y=y, memory_limit=limit), **options)
    kept = np.delete(np.arange(N), 4_000)
    with pytest.raises(fp.FileError, match=r"y\.npy, row 4000: the target must be"):
        make().fit(X[kept], y[kept], X_val=saved(tmp_path, y=y, memory_limit=limit), **options)
    net, whole = make(), make()
    dataset = saved(tmp_path, y=y, memory_limit=limit, on_bad_rows="skip")
    assert net.fit(dataset, **options)["skipped"] == [1]
    whole.fit(X[kept], y[kept], **options)
    assert_same_weights(net, whole)
    with pytest.warns(RuntimeWarning, match="1 bad row of"):
        found = net.evaluate(dataset)["loss"]
    assert found == pytest.approx(net.evaluate(X[kept], y[kept])["loss"], rel=1e-6)


def test_a_target_behind_soft_ones_that_is_no_probability(tmp_path):
    y = np.where(np.arange(N) == 4_500, 1.5, 0.25)
    with pytest.raises(fp.FileError, match=r"row 4500: the target must be a probability within 0\.\.1, got 1\.5"):
        classifier(1).fit(saved(tmp_path, y=y), epochs=1, shuffle=False)
    assert classifier(1).fit(saved(tmp_path, y=y, on_bad_rows="skip"), epochs=1)["skipped"] == [1]


@LIMITS
def test_no_target(tmp_path, limit):
    saved(tmp_path)
    bare = data.from_npy(tmp_path / "X.npy", memory_limit=limit)
    net = regressor()
    net.fit(X, TARGET, epochs=1)
    for use in (net.fit, net.evaluate, lambda d: net.fit(X, TARGET, X_val=d)):
        with pytest.raises(ValueError, match=r"X\.npy has no target: name its column, or give the file of y"):
            use(bare)


def test_too_many_labels(tmp_path):
    y = THREE.copy()
    y[-1] = 9
    with pytest.raises(fp.FileError, match="row 5002: the label 9 was never seen"):
        classifier().fit(saved(tmp_path, y=y), epochs=1, shuffle=False)
    with pytest.raises(ValueError, match=r"4 distinct labels .* for 5 classes"):
        classifier(5).fit(saved(tmp_path, y=np.where(y == 9, 9, y)), epochs=1)


def test_a_file_that_shrinks(tmp_path):
    dataset, net = saved(tmp_path), regressor()
    with open(tmp_path / "X.npy", "r+b") as file:
        file.truncate(60_000)
    with pytest.raises(fp.FileError, match=r"X\.npy shrank while it was read: it ends at byte 60000"):
        net.fit(dataset, epochs=1, shuffle=False)
    (tmp_path / "X.npy").unlink()
    with pytest.raises(FileNotFoundError, match=r"X\.npy"):
        net.fit(dataset, epochs=1)


def test_an_iterator_is_read_once():
    batches = ((X[i : i + 100], TARGET[i : i + 100]) for i in range(0, N, 100))
    dataset, net = data.from_batches(batches, memory_limit="64kB"), regressor()
    with pytest.raises(ValueError, match="epochs must be 1, got 2: an iterator can be read once"):
        net.fit(dataset, epochs=2)
    net.fit(dataset, epochs=1)
    with pytest.raises(fp.FileError, match="was read once and is at its end"):
        net.fit(dataset, epochs=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": None}, "batch_size must be given: a full batch"),
        ({"batch_size": 10_000}, "an update of 10000 rows does not fit"),
        ({"y": TARGET}, "y must be None beside the dataset"),
        ({"sample_weight": TARGET}, "sample_weight must be None beside the dataset"),
        ({"class_weight": "balanced"}, "class_weight needs labels"),
        ({"validation_fraction": 0.1, "X_val": X, "y_val": TARGET}, "give either X_val and y_val or"),
        ({"early_stopping": 3}, "monitor 'val_loss' is not measured"),
        ({"epochs": 0}, "epochs must be"),
    ],
)
def test_arguments_that_do_not_fit(tmp_path, options, message):
    net = regressor()
    with pytest.raises(ValueError, match=message):
        net.fit(saved(tmp_path), **{"epochs": 1, "batch_size": 32} | options)
    assert not net.is_built


def test_a_dataset_without_targets_or_of_other_width(tmp_path):
    dataset = saved(tmp_path)
    net = regressor()
    with pytest.raises(ValueError, match=r"X\.npy has no target"):
        net.fit(data.from_npy(tmp_path / "X.npy", memory_limit="64kB"), epochs=1)
    net.build(5)
    with pytest.raises(ValueError, match="6 features, expected 5"):
        net.fit(dataset, epochs=1)


def test_divergence_goes_back_to_the_last_good_epoch(tmp_path):
    net, expected = (regressor(optimizer=fp.SGD(lr=lambda t: 0.01 if t < 157 else 1e30)) for _ in range(2))
    expected.fit(saved(tmp_path), epochs=1, batch_size=32)
    with pytest.raises(fp.DivergenceError, match="epoch 1"):
        net.fit(saved(tmp_path), epochs=3, batch_size=32)
    assert_same_weights(net, expected)


def test_no_thread_is_left_behind(tmp_path):
    class Stop:
        def on_step(self, net, step, logs):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        regressor().fit(saved(tmp_path), epochs=5, callbacks=Stop())
    regressor().fit(saved(tmp_path), epochs=2)
    net = regressor()
    net.fit(X, TARGET, epochs=1)
    net.predict(saved(tmp_path))
    gc.collect()
    assert not [t for t in threading.enumerate() if t.name == "fastprop-reader"]
