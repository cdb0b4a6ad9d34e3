"""Readers and damaged files: whatever a file holds, it is read or refused with FileError; nothing else happens.

Each reader is a pair: `write(folder)` gives the paths of valid files, `read(path)` reads one. A case takes a valid
file, damages it, and reads it: FileError or success, and memory for at most twice the file. `pytest --long` runs
20,000 cases.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import struct
import tracemalloc
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

import fastprop as fp
from fastprop.checkpoints import DIGITS, START
from fastprop.data.preparation import Hashed, Number, Preparation
from fastprop.data.source import Block
from fastprop.data.target import Target
from fastprop.errors import MissingClassError
from fastprop.files import KEY

SLACK = 2 << 20  # bytes for objects of Python and pads of registers: the files have a few KB
CASES, LONG_CASES = 300, 20_000

# ---- readers --------------------------------------------------------------------------------------------------------


class Reader(NamedTuple):
    write: Callable[[Any], list[Any]]
    read: Callable[[Any], Any]


def write_models(folder):
    """Every kind of layer, of label and of nesting."""
    inner = [fp.Dense(3, "tanh"), fp.Dropout(0.5), fp.LayerNorm(), fp.Dense(3, bias=False)]
    rich = fp.Network(
        [fp.Dense(3, "leaky_relu"), fp.BatchNorm(), fp.Residual([*inner, fp.Residual(inner)]), fp.Dense(2)],
        loss=fp.losses.CrossEntropy(label_smoothing=0.1, output_weights=[1, 2]),
        optimizer=fp.Adam(lr=fp.schedules.Warmup(fp.schedules.Plateau(0.1), 5)), clip_norm=1.0,
    )  # fmt: skip
    X, y = np.random.default_rng(0).normal(size=(8, 4)), np.array(["yes", "no"] * 4)
    rich.fit(X, y, epochs=1, progress=False)
    small = fp.Network([fp.Dense(1)], loss="mse", optimizer=fp.SGD(fp.schedules.Cosine(0.1, 10)), dtype="float64")
    small.build(2)
    extra = {"table": {"preparation": {"columns": {"a": ["x", "\u2603"]}}, "list": [1, 2.5, None, True, float("inf")]}}
    rich.save(folder / "rich", extra=extra)
    small.save(folder / "small")
    table = fp.Network([fp.Dense(2, "tanh"), fp.Dense(1)]).build(8)
    columns = {"a": Number(1.0, 2.0, 0.5), "b": ["", "x", "\u2603"], "c": Hashed(4)}
    table.preparation_ = Preparation(columns, Target(("y",), "regression", (1.0,), (2.0,), True), n_rows=9)
    table.save(folder / "table")
    return [folder / "rich", folder / "small", folder / "table"]


def read_model(path):
    """Load, and look at all of what came: a file that is read gives a whole network."""
    net = fp.load(path)
    assert all(np.isfinite(a).all() for a in net.state_dict().values())
    assert repr(net)
    assert net.summary()
    if net.classes_ is not None:
        assert len(net.classes_) == max(2, net.n_outputs_)
    if net.preparation_ is not None:
        check_preparation(net)


def check_preparation(net):
    """It turns two rows of the columns that it names into two rows for the network, and predictions back."""
    prepared = net.preparation_
    if prepared.n_sparse:
        prepared, rows = prepared.with_target(None), csr_array((2, prepared.n_sparse), dtype=np.float32)
    else:
        names = {name: [1.0, None] for name in (*prepared.columns, *prepared.targets)}
        rows = pa.RecordBatch.from_pydict(names | {name: ["x", None] for name in prepared.text})
    target = prepared.to_predict
    with np.errstate(all="ignore"):
        X, y = prepared.transform(Block(rows, target and np.zeros((2, len(target.mean))), "rows", 0))
        assert X.shape == (2, net.n_features_)
        assert (y is None) == (target is None)
        if target:
            assert len(prepared.decode(np.zeros((2, len(target.mean)), np.float32))) == 2


def write_checkpoints(folder):
    """With slots, best weights and a history; and of a network that has none of them."""
    net = fp.Network(
        [fp.Dense(3), fp.BatchNorm(), fp.Dense(2)], "cross_entropy", fp.Adam(fp.schedules.Plateau(0.01)), seed=1
    )
    X, y = np.random.default_rng(0).normal(size=(12, 2)), np.arange(12) % 2
    net.fit(X, y, epochs=3, batch_size=4, X_val=X, y_val=y, early_stopping=2, progress=False, checkpoint=folder / "run")
    (folder / "run.previous").unlink(missing_ok=True)  # or it would be read where the newer one is damaged
    fp.Network([fp.Dense(1)]).build(2).checkpoint(folder / "built")
    return [folder / "run", folder / "built"]


def read_checkpoint(path):
    """Resume from a file that has its checksum, so that what lies behind it is read."""
    raw = bytearray(path.read_bytes())
    if raw[8:].startswith(START) and len(raw) > 8 + len(START) + DIGITS:
        place = slice(8 + len(START), 8 + len(START) + DIGITS)
        raw[place] = b"0" * DIGITS
        raw[place] = hashlib.blake2b(raw, digest_size=DIGITS // 2).hexdigest().encode()
        path.write_bytes(raw)
    net = fp.resume(path)
    assert repr(net)
    assert net.summary()


READERS = {"model": Reader(write_models, read_model), "checkpoint": Reader(write_checkpoints, read_checkpoint)}

# ---- damage ---------------------------------------------------------------------------------------------------------

EVIL = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from([2**31, 2**63, 2**64, 10**400, -(10**30), 10**12]),
    st.sampled_from([math.nan, math.inf, -math.inf, 1e308, -0.0, 1e-320, 0.5]), st.floats(),
    st.sampled_from(
        ["", "\0", "\ud800", "\U0001f600", "a" * 10_000, "../..", "F32", "F64", "I64", "F16", "float32", "float64",
         "O", "<U1000000000", "V10", "(9999,9999)f8", "i4,i4", "M8[ns]", "|b1", "dense", "dropout", "residual",
         "batch_norm", "relu", "softmax", "bce", "hinge", "poisson", "custom", "array", "Warmup", "Plateau", "sgd"]),
    st.text(max_size=5), st.builds(list), st.builds(dict), st.builds(lambda: [[]]),
    st.builds(lambda: [0] * 1000), st.builds(lambda: {"": {}}),  # new ones: the next damage may change them
)  # fmt: skip


def places(value, above=()):
    """The path of every value in a JSON tree, the root and what lies deeper than twenty apart."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items if len(above) < 20 else ():
        yield (*above, key)
        yield from places(inner, (*above, key))


def at(tree, path):
    for key in path:
        tree = tree[key]
    return tree


def damage_tree(draw, tree):
    """Change one value of a JSON tree, at any depth: replace, remove, double, rename, swap or nest it."""
    paths = list(places(tree))
    if not paths:
        return
    path = draw(st.sampled_from(paths))
    parent, key, old = at(tree, path[:-1]), path[-1], at(tree, path)
    kind = draw(st.sampled_from(["evil", "evil", "near", "remove", "double", "rename", "swap", "nest"]))
    if kind == "evil":
        parent[key] = draw(EVIL)
    elif kind == "near" and isinstance(old, (int, float)):
        parent[key] = draw(st.sampled_from([old + 1, old - 1, -old, float(old) if abs(old) < 1e300 else 0, str(old)]))
    elif kind == "remove":
        del parent[key]
    elif kind == "double" and isinstance(parent, list):
        parent[key:key] = [old] * draw(st.integers(1, 50))
    elif kind == "rename" and isinstance(parent, dict):
        parent[draw(st.sampled_from([str(key) + "x", "", "self", "cls", "lr", "name", "custom", "é"]))] = parent.pop(
            key
        )
    elif kind == "swap":
        with contextlib.suppress(RecursionError):  # of a value that was nested thousands of times
            parent[key] = json.loads(json.dumps(at(tree, draw(st.sampled_from(paths)))))
    elif kind == "nest":
        for _ in range(draw(st.sampled_from([1, 30, 100, 5000]))):
            parent[key] = old = {"layer": "residual", "layers": [old]} if isinstance(old, dict) else [old]


def parts(raw):
    n = struct.unpack("<Q", raw[:8])[0]
    return json.loads(raw[8 : 8 + n]), raw[8 + n :]


def joined(text, data):
    return struct.pack("<Q", len(text)) + text + data


def dumps(tree):
    """JSON, of a depth that would exhaust the recursion of the encoder too."""
    try:
        return json.dumps(tree, separators=(",", ":"))
    except RecursionError:
        return "[" * 5000 + "]" * 5000


def damage_header(draw, raw):
    """A header that is valid JSON with wrong values: offsets, dtypes, shapes, names of arrays."""
    header, data = parts(raw)
    for _ in range(draw(st.integers(1, 3))):
        damage_tree(draw, header)
    return joined(dumps(header).encode(), data)


def damage_description(draw, raw):
    """A valid header with a description that is not as it was."""
    header, data = parts(raw)
    description = json.loads(header["__metadata__"][KEY])
    for _ in range(draw(st.integers(1, 3))):
        damage_tree(draw, description)
    header["__metadata__"][KEY] = dumps(description)
    return joined(json.dumps(header, separators=(",", ":")).encode(), data)  # as checkpoints begin


def damage_text(draw, raw):
    """A header with text put in at some place: doubled keys, brackets, constants, digits, bad escapes."""
    n = struct.unpack("<Q", raw[:8])[0]
    text, place = raw[8 : 8 + n], draw(st.integers(0, n))
    put = draw(st.sampled_from([
        b'{"__metadata__":{},', b'"dtype":"F32",', b'\\"version\\":1,', b'\\"seed\\":1, ', b"[" * 3000, b'{"a":' * 3000,
        b"NaN", b"Infinity", b"-", b"1" * 5000, b"\\ud800", b"\\u0000", b"\xff", b"\xef\xbb\xbf", b"\\", b'"', b"," * 9,
    ]))  # fmt: skip
    return joined(text[:place] + put + text[place + draw(st.integers(0, 8)) :], raw[8 + n :])


def flip_bytes(draw, raw):
    changed = bytearray(raw)
    for _ in range(draw(st.integers(1, 8))):
        changed[draw(st.integers(0, len(raw) - 1))] = draw(st.integers(0, 255))
    return bytes(changed)


def cut_or_extend(draw, raw):
    n = draw(st.integers(0, len(raw) + 64))
    return raw[:n] + b"\0" * (n - len(raw))


def splice(draw, raw):
    """A piece of the file copied over, put in at or taken out of another place."""
    a, b = sorted(draw(st.tuples(*[st.integers(0, len(raw))] * 2)))
    place = draw(st.integers(0, len(raw)))
    ways = [raw[:place] + raw[a:b] + raw[place:], raw[:place] + raw[a:b] + raw[place + b - a :], raw[:a] + raw[b:]]
    return ways[draw(st.integers(0, 2))]


def change_length(draw, raw):
    n = struct.unpack("<Q", raw[:8])[0]
    wrong = draw(st.one_of(st.integers(0, 2**64 - 1), st.integers(max(0, n - 9), n + 9), st.just(len(raw) - 8)))
    return struct.pack("<Q", wrong) + raw[8:]


DAMAGES = [
    damage_description, damage_description, damage_description, damage_header, damage_header, damage_text, flip_bytes,
    cut_or_extend, splice, change_length,
]  # fmt: skip

# ---- the tests ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", READERS)
def test_damaged_files_are_read_or_refused(name, long, tmp_path):
    reader = READERS[name]
    originals = []
    for path in reader.write(tmp_path):
        originals.append(path.read_bytes())
        reader.read(path)  # what is imported and compiled at first use is not the files' memory
    outcomes, broken = Counter(), tmp_path / "broken"

    @settings(
        max_examples=LONG_CASES if long else CASES, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(data=st.data())
    def case(data):
        damage = data.draw(st.sampled_from(DAMAGES))
        raw = damage(data.draw, data.draw(st.sampled_from(originals)))
        broken.write_bytes(raw)
        tracemalloc.start()
        try:
            outcomes[outcome(reader.read, broken)] += 1
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak <= 2 * len(raw) + SLACK, f"{peak} bytes for a file of {len(raw)}"

    case()
    print(f"{name}: {dict(outcomes)}")
    assert min(outcomes["read"], outcomes["refused"]) > CASES // 20  # damage that shows, and damage that does not


def outcome(read, path):
    """What became of a file; anything but these three is an error."""
    try:
        read(path)
    except fp.FileError:
        return "refused"
    except MissingClassError as error:
        assert "custom=" in str(error)  # noqa: PT017  another name: the file is as valid as one with a user's class
        return "class missing"
    return "read"


@pytest.mark.parametrize("name", READERS)
def test_undamaged_files_are_read(name, tmp_path):
    for path in READERS[name].write(tmp_path):
        READERS[name].read(path)
