"""Copies of networks: pickle, deepcopy and files keep predictions bit for bit, and training goes on from them."""

import copy
import pickle

import numpy as np
import pytest

import fastprop as fp

RNG = np.random.default_rng(0)
X = RNG.normal(size=(90, 5)).astype(np.float32)
LABELS = np.array(["no", "yes"])[(X[:, 0] > 0).astype(int)]
OPTIONS = {"epochs": 2, "batch_size": 32, "progress": False}


# A user's own arithmetic; in a module, so that pickle finds the classes by name.
@fp.activation
class Bent:
    slope: float = 0.25

    def value(self, z):
        return np.where(z > 0.0, z, self.slope * z)

    def derivative(self, z, a):
        return np.where(z > 0.0, 1.0, self.slope + 0.0 * z)


@fp.loss
class Fourth:
    scale: float = 1.0

    def value(self, y, p):
        d = p - y
        return self.scale * d * d * d * d

    def gradient(self, y, p):
        d = p - y
        return 4.0 * self.scale * d * d * d


@fp.optimizer
class Heavy:
    n_slots = 1
    mass: float = 0.5

    def update(self, w, g, slots, lr, t):
        v = self.mass * slots[0] + g
        return w - lr * v, (v,)


def falling(update):
    return 0.01 / (1.0 + update)


def classifier():
    """With everything that has a state: slots, statistics, dropout's numbers, labels, a schedule."""
    layers = [fp.Dense(6, activation="tanh"), fp.BatchNorm(), fp.Dropout(0.2), fp.Dense(2)]
    return fp.Network(layers, loss="cross_entropy", optimizer=fp.Adam(fp.schedules.Step(0.02, 3, 0.5)), seed=3)


def custom():
    layers = [fp.Dense(6, activation=Bent(slope=0.5)), fp.Dense(1)]
    return fp.Network(layers, loss=Fourth(scale=2.0), optimizer=Heavy(lr=falling, mass=0.75))


KINDS = {"classes": (classifier, LABELS), "own arithmetic": (custom, X[:, 0])}


@pytest.fixture(params=KINDS)
def trained(request):
    make, y = KINDS[request.param]
    net = make()
    net.fit(X, y, **OPTIONS)
    return net, y


def assert_same(net, other):
    np.testing.assert_array_equal(net._parameters.rows, other._parameters.rows)
    np.testing.assert_array_equal(net._parameters.statistics, other._parameters.statistics)
    assert net._parameters.count == other._parameters.count


COPIES = {
    "pickle": lambda net: pickle.loads(pickle.dumps(net)),
    "oldest pickle": lambda net: pickle.loads(pickle.dumps(net, protocol=2)),
    "deepcopy": copy.deepcopy,
    "copy": lambda net: copy.copy(copy.deepcopy(net)),
    "twice": lambda net: pickle.loads(pickle.dumps(copy.deepcopy(net))),
}


@pytest.mark.parametrize("how", COPIES)
def test_copies_train_on_alike_and_apart(trained, how):
    net, y = trained
    other = COPIES[how](net)
    np.testing.assert_array_equal(net.predict(X), other.predict(X))
    assert_same(net, other)
    assert other.history_ == net.history_
    assert repr(other) == repr(net)
    before = net._parameters.rows.copy()
    other.fit(X, y, **OPTIONS)
    np.testing.assert_array_equal(net._parameters.rows, before)  # nothing is shared
    net.fit(X, y, **OPTIONS)
    assert_same(net, other)
    assert net.epochs_done == other.epochs_done == 4


def test_copies_before_building():
    net = classifier()
    for how in COPIES.values():
        other = how(net)
        assert not other.is_built
        other.fit(X, LABELS, **OPTIONS)
    net.fit(X, LABELS, **OPTIONS)
    assert_same(net, other)


def test_a_pickle_holds_no_pads_and_no_data():
    net = classifier()
    small = len(pickle.dumps(net))
    net.fit(np.tile(X, (50, 1)), np.tile(LABELS, 50), **OPTIONS)
    net.predict(np.tile(X, (50, 1)))
    assert len(pickle.dumps(net)) < small + 8000


UNPICKLE = """
import pickle, sys, numpy as np
net = pickle.load(open(sys.argv[1], "rb"))
np.save(sys.argv[3], net.predict_proba(np.load(sys.argv[2])))
"""


def test_a_pickle_goes_to_another_process(run_script, tmp_path):
    net = classifier()
    net.fit(X, LABELS, **OPTIONS)
    (tmp_path / "net").write_bytes(pickle.dumps(net))
    np.save(tmp_path / "X.npy", X)
    run_script(UNPICKLE, tmp_path / "net", tmp_path / "X.npy", tmp_path / "P.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "P.npy"), net.predict_proba(X))


# ---- files --------------------------------------------------------------------------------------------------------

OWN = {"bent": Bent, "fourth": Fourth, "heavy": Heavy, "falling": falling}


def test_files_keep_predictions(trained, tmp_path):
    net, y = trained
    net.save(tmp_path / "m", extra={"note": [1, "two"]})
    other = fp.load(tmp_path / "m", custom=OWN)
    np.testing.assert_array_equal(net.predict(X), other.predict(X))
    assert other.predict(X).dtype == net.predict(X).dtype
    assert net.evaluate(X, y) == other.evaluate(X, y)
    for name, array in net.state_dict().items():
        np.testing.assert_array_equal(array, other.state_dict()[name])
    assert other.extra == {"note": [1, "two"]}
    other.save(tmp_path / "again")
    assert fp.load(tmp_path / "again", custom=OWN).extra == other.extra
    other.fit(X, y, **OPTIONS)


def test_an_unbuilt_network_is_not_saved(tmp_path):
    with pytest.raises(ValueError, match="no weights yet"):
        classifier().save(tmp_path / "m")
    assert not list(tmp_path.iterdir())


def test_labels_and_columns_come_back(tmp_path):
    class Frame:
        columns = tuple("abcde")

        def to_numpy(self):
            return X

    net = classifier()
    net.fit(Frame(), LABELS, **OPTIONS)
    net.save(tmp_path / "m")
    other = fp.load(tmp_path / "m")
    assert other.classes_.tolist() == ["no", "yes"]
    assert other.feature_names_in_.tolist() == list("abcde")
    assert set(other.predict(X)) <= {"no", "yes"}
    with pytest.raises(ValueError, match="never seen"):
        other.fit(X, np.where(LABELS == "no", "maybe", LABELS), **OPTIONS)


LOAD = """
import sys, numpy as np, fastprop as fp
net = fp.load(sys.argv[1])
np.save(sys.argv[3], net.predict_proba(np.load(sys.argv[2])))
"""


def test_another_process_loads_a_file(run_script, tmp_path):
    net = classifier()
    net.fit(X, LABELS, **OPTIONS)
    net.save(tmp_path / "m")
    np.save(tmp_path / "X.npy", X)
    run_script(LOAD, tmp_path / "m", tmp_path / "X.npy", tmp_path / "P.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "P.npy"), net.predict_proba(X))


@pytest.fixture
def own_file(tmp_path):
    net = custom()
    net.fit(X, X[:, 0], **OPTIONS)
    net.save(tmp_path / "m")
    return tmp_path / "m", net.predict(X)


def test_registered_classes_are_found_by_name(own_file):
    path, expected = own_file
    net = fp.load(path, custom={"falling": falling})  # a function is never registered
    np.testing.assert_array_equal(net.predict(X), expected)
    assert net.loss.scale == 2.0
    assert net.optimizer.mass == 0.75
    assert net.optimizer.lr is falling


def test_a_schedule_that_is_missing_is_named(own_file):
    with pytest.raises(ValueError, match=r"schedule 'test_objects.falling'.*custom=\{'falling': ...\}"):
        fp.load(own_file[0])


ELSEWHERE = """
import sys, numpy as np, fastprop as fp
DEFINITIONS
try:
    net = fp.load(sys.argv[1], custom=CUSTOM)
except ValueError as error:
    print(error)
else:
    np.save(sys.argv[3], net.predict(np.load(sys.argv[2])))
    print("loaded")
"""
BENT = """
class Bent:
    slope: float = 0.25
    def value(self, z):
        return np.where(z > 0.0, z, self.slope * z)
    def derivative(self, z, a):
        return np.where(z > 0.0, 1.0, self.slope + 0.0 * z)
"""
FOURTH = """
class Fourth:
    scale: float = 1.0
    def value(self, y, p):
        return (p - y) * (p - y)
    def gradient(self, y, p):
        return p - y
"""
HEAVY = """
class Heavy:
    n_slots = 1
    mass: float = 0.5
    def update(self, w, g, slots, lr, t):
        return w, slots
"""
DEFINED = f"@fp.activation{BENT}\n@fp.loss{FOURTH}\n@fp.optimizer{HEAVY}\nfalling = lambda update: 0.1\n"


@pytest.mark.parametrize(
    ("definitions", "given", "expected"),
    [
        ("", "{}", "needs the activation 'bent'"),
        (f"@fp.activation{BENT}", "{}", "needs the loss 'fourth'"),
        (f"@fp.activation{BENT}\n@fp.loss{FOURTH}", "{}", "needs the optimizer 'heavy'"),
        (DEFINED, "{}", "needs the learning rate schedule"),
        (DEFINED, "{'falling': falling}", "loaded"),
        (DEFINED, "{'falling': 'soon'}", "custom['falling']"),
        (DEFINED, "{'falling': falling, 'bent': 3}", "custom['bent'] must be a class decorated with @fp.activation"),
        (DEFINED, "{'falling': falling, 'fourth': Bent}", "custom['fourth'] must be a class decorated with @fp.loss"),
        (DEFINED, "{'falling': falling, 'heavy': fp.Network}", "custom['heavy'] must be a class decorated"),
    ],
)
def test_classes_that_another_process_has_or_lacks(run_script, own_file, tmp_path, definitions, given, expected):
    path, predictions = own_file
    np.save(tmp_path / "X.npy", X)
    script = ELSEWHERE.replace("DEFINITIONS", definitions).replace("CUSTOM", given)
    assert expected in run_script(script, path, tmp_path / "X.npy", tmp_path / "P.npy")
    if expected == "loaded":
        np.testing.assert_array_equal(np.load(tmp_path / "P.npy"), predictions)
