"""The limits of the reader of model files: what a file may claim, and that nothing is taken for a false claim."""

from __future__ import annotations

import json
import struct
import sys
import tracemalloc

import numpy as np
import pytest

import fastprop as fp
from fastprop import checkpoints, files

pytestmark = pytest.mark.quick


def parts(path):
    raw = path.read_bytes()
    n = struct.unpack("<Q", raw[:8])[0]
    return raw[8 : 8 + n].decode(), raw[8 + n :]


def write_text(path, text, data):
    path.write_bytes(struct.pack("<Q", len(text)) + text.encode() + data)


def change(path, edit):
    """Rewrite the description by `edit`, a function that changes a dict; the rest of the file stays."""
    text, data = parts(path)
    header = json.loads(text)
    description = json.loads(header["__metadata__"]["fastprop"])
    edit(description)
    header["__metadata__"]["fastprop"] = json.dumps(description)
    write_text(path, json.dumps(header), data)


@pytest.fixture
def path(tmp_path):
    net = fp.Network([fp.Dense(3, "relu"), fp.BatchNorm(), fp.Dense(2)], loss="cross_entropy").build(4)
    net.classes_ = np.array(["no", "yes"])
    net.save(tmp_path / "m")
    return tmp_path / "m"


def refused(path, message, most=2 << 20, read=fp.load):
    """Loading is refused with `message`, and takes at most twice the file and `most` bytes."""
    tracemalloc.start()
    try:
        with pytest.raises(fp.FileError, match=message):
            read(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * path.stat().st_size + most


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('{"__metadata__":', '{"__metadata__":{},"__metadata__":'),
        ('"dtype":"F32",', '"dtype":"F64","dtype":"F32",'),
        ('{"fastprop":', '{"fastprop":"{}","fastprop":'),
        ('\\"seed\\":', '\\"seed\\":1,\\"seed\\":'),
        ('\\"fields\\": {', '\\"fields\\": {}, \\"fields\\": {'),
    ],
)
def test_no_key_may_be_there_twice(path, old, new):
    text, data = parts(path)
    assert old in text
    write_text(path, text.replace(old, new, 1), data)
    refused(path, "the key '.*' is there twice")


SHAPES = ["[NaN,3]", "[4.0,3]", "[true,12]", '"43"', "[[4,3]]", "[-4,-3]", "[1,1,1,1,1,1,1,1,12]", "[]", "null"]


@pytest.mark.parametrize("shape", [*SHAPES, "[1" + "0" * 4000 + ",0]"])
def test_shapes_are_few_small_whole_numbers(path, shape):
    text, data = parts(path)
    assert '"shape":[4,3]' in text
    write_text(path, text.replace('"shape":[4,3]', f'"shape":{shape}'), data)
    refused(path, r"array 'layers\.0\.W' has (no shape|another shape)")


@pytest.mark.parametrize("offsets", [(0, 16), (4, 16)])
def test_arrays_neither_overlap_nor_leave_gaps(tmp_path, offsets):
    header = {
        "__metadata__": {"fastprop": '{"version": 1}'},
        "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
    }
    begin, end = offsets
    header["b"] = {"dtype": "F32", "shape": [(end - begin) // 4], "data_offsets": [begin, end]}
    write_text(tmp_path / "m", json.dumps(header), b"\0" * 16)
    refused(tmp_path / "m", "array 'b' overlaps another, or lies behind a gap")


def test_arrays_fill_the_file(path):
    path.write_bytes(path.read_bytes() + b"\0")
    refused(path, "its arrays do not fill it")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 2_000_000, "would take more than"),
        ("[" * 200_000, "nested too deep"),
        ('{"a":' * 200_000, "nested too deep"),
        ("{" + '"a":[],' * 1_000_000 + '"b":1}', "would take more than"),
        ('{"a":["' + "\\\\" * 1_000_000 + '"]}', "not written by fastprop"),
        ('{"a":' + "9" * 1_000_000 + "}", "not JSON"),
        ('{"a":"\U0001f600"}', "not JSON"),
    ],
    ids=["more lists", "lists", "objects", "values", "escapes", "digits", "unicode"],
)
def test_headers_that_would_take_more_than_they_hold(tmp_path, text, message):
    write_text(tmp_path / "m", text, b"")
    refused(tmp_path / "m", message)


ENTRY = '{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
SHAPES_OF_JSON = {
    "numbers": lambda k: "[" + ",".join(["1.5"] * k) + "]",
    "strings": lambda k: "[" + ",".join(f'"{i}"' for i in range(k)) + "]",
    "lists": lambda k: "[" + ",".join(["[9]"] * k) + "]",
    "members": lambda k: "{" + ",".join(f'"{i:x}":0' for i in range(k)) + "}",
    "members that are lists": lambda k: "{" + ",".join(f'"{i:x}":[]' for i in range(k)) + "}",
    "small objects": lambda k: "[" + ",".join(['{"a":0}'] * k) + "]",
    "objects in objects": lambda k: "[" + ",".join(['{"a":{"a":{"a":0}}}'] * k) + "]",
    "arrays": lambda k: "{" + '"__metadata__":{"fastprop":"{}"},' + ",".join(f'"{i}":{ENTRY}' for i in range(k)) + "}",
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES_OF_JSON)
def test_what_a_header_takes_is_known_before_it_is_read(tmp_path, shape, monkeypatch):
    """As many as are let through: the memory is at most twice the file and `MAX_OBJECTS`."""
    monkeypatch.setattr(files, "MAX_OBJECTS", 2**22)  # tracing a million objects takes 10 s
    make = SHAPES_OF_JSON[shape]
    one = (files.object_bytes(make(2000)) - len(make(2000))) / 2000
    k = int(0.98 * files.MAX_OBJECTS / one)  # a few less than are let through
    text = make(k)
    if shape != "arrays":
        text = json.dumps({"__metadata__": {"fastprop": f'{{"version":1,"x":{text}}}'}})
    write_text(tmp_path / "m", text, b"")
    tracemalloc.start()
    try:
        with pytest.raises(fp.FileError, match=r"damaged|no version"):
            fp.load(tmp_path / "m")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * len(text) + files.MAX_OBJECTS + (1 << 18)


def test_long_histories_are_written_and_read(tmp_path, monkeypatch):
    """Objects that outweigh `MAX_OBJECTS`, by less than their text."""
    monkeypatch.setattr(files, "MAX_OBJECTS", 2**22)
    files.write(tmp_path / "m", {"loss": [0.1234567890123456] * 200_000}, {})
    assert len(files.read(tmp_path / "m")[0]["loss"]) == 200_000


def test_brackets_in_strings_are_not_depth(tmp_path):
    files.write(tmp_path / "m", {"labels": ['["' * 100, "{\\" * 100, "]"]}, {})
    assert files.read(tmp_path / "m")[0]["labels"][0] == '["' * 100


def test_what_could_not_be_read_is_not_written(tmp_path):
    deep = []
    for _ in range(100):
        deep = [deep]
    with pytest.raises(ValueError, match="nested deeper than 64"):
        files.write(tmp_path / "m", {"deep": deep}, {})
    with pytest.raises(ValueError, match="holds too much"):
        files.write(tmp_path / "m", {"long": [0] * 3_000_000}, {})
    files.write(tmp_path / "m", {"long": [0] * 300_000}, {})
    assert len(files.read(tmp_path / "m")[0]["long"]) == 300_000


def set_at(*keys):
    *above, last, value = keys

    def edit(description):
        for key in above:
            description = description[key]
        description[last] = value

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (set_at("layers", 0, "units", 10**9), "must have shape"),
        (set_at("layers", 0, "units", 10**400), "must have shape|damaged"),
        (set_at("n_features", 10**12), "must have shape"),
        (set_at("n_features", float("nan")), "n_features must be a positive integer"),
        (set_at("n_features", True), "n_features must be a positive integer"),
        (set_at("layers", 1, "eps", float("inf")), "eps must be a finite number"),
        (set_at("layers", 1, "momentum", 10**400), "damaged"),
        (set_at("layers", 2, "activation", "name", "a" * 100_000), "damaged"),
        (lambda d: d["layers"].extend([{"layer": "dropout", "rate": 2}]), "rate must be"),
        (lambda d: d["layers"].extend(d["layers"] * 50), "missing or unknown"),
        (lambda d: d["layers"].extend(d["layers"] * 1000), "3003 layers for 8 arrays"),
        (set_at("dtype", "float64"), "arrays must be float64"),
        (set_at("seed", -1), "seed must be"),
        (set_at("feature_names", ["a"]), "must have 4 names"),
        (set_at("feature_names", [1, 2, 3, 4]), "must have 4 names"),
        (set_at("classes", "dtype", "<U1000000000"), "this dtype"),
        (set_at("classes", "dtype", "<U100000000"), "take more than"),
        (set_at("classes", "dtype", "(9999,9999)f8"), "this dtype"),
        (set_at("classes", "dtype", "V1000000000"), "this dtype"),
        (set_at("classes", "dtype", None), "this dtype"),
        (set_at("classes", "values", ["yes", "no"]), "sorted"),
        (set_at("classes", "values", ["yes", "yes"]), "sorted"),
        (set_at("classes", "values", [["a"], "b"]), "list of strings or numbers"),
        (set_at("classes", "values", ["a", "b", "c"]), "3 labels for 2 outputs"),
        (set_at("loss", {"name": "mse", "fields": {}, "output_weights": None}), "it has labels, but the loss mse"),
        (set_at("loss", "output_weights", [1, 2, 3]), "must have 2 numbers"),
        (set_at("loss", "fields", "label_smoothing", float("nan")), "label_smoothing must be"),
        (set_at("optimizer", "lr", {"schedule": "Plateau", "lr": 1, "state": {"lr": "x"}}), "damaged"),
        (set_at("optimizer", "lr", {"schedule": "Plateau", "lr": 1, "state": {"n_bad": -1}}), "n_bad"),
        (set_at("extra", 3), "damaged"),
        (set_at("extra", [["a", 1]]), "damaged"),
        (lambda d: d.pop("classes"), "damaged"),
    ],
)
def test_descriptions_that_do_not_fit(path, edit, message):
    change(path, edit)
    refused(path, message)


def preparation(k=4, names=("y",), **target):
    """Of k numbers, and a target of labels unless another is given."""
    columns = {f"x{j}": {"fill": 0, "mean": 0, "factor": 1} for j in range(k)}
    numbers = {"mean": [0] * len(names), "scale": [1] * len(names)}
    described = {"names": list(names), "task": "classification", **numbers, **target}
    return {"columns": columns, "target": described}


def test_preparations_fit_the_network(path, tmp_path):
    first = {"preparation": {"columns": preparation()["columns"]}, "target": preparation()["target"]}
    for edit in (set_at("extra", {"table": first}), set_at("preparation", preparation())):
        change(path, edit)
        assert fp.load(path).preparation_.n_features == 4
    for stored, message in [
        (preparation(5), "its preparation gives 5 features, the network has 4"),
        (preparation(names=("a", "b", "c"), task="regression"), "its preparation has 3 targets for 2 outputs"),
        (preparation(scale=[0]), r"m: its preparation is damaged: target\.scale must be > 0"),
    ]:
        change(path, set_at("preparation", stored))
        refused(path, message)
    fp.Network([fp.Dense(2)]).build(4).save(tmp_path / "numbers")
    change(tmp_path / "numbers", set_at("preparation", preparation(task="regression")))
    refused(tmp_path / "numbers", "its preparation has 1 targets for 2 outputs")


def test_a_table_of_the_users_own_is_no_preparation(tmp_path):
    for table in (3, {"columns": 3}, {"preparation": {}, "target": {}, "more": 1}):
        net = fp.Network([fp.Dense(1)]).build(2)
        net.save(tmp_path / "m", extra={"table": table})
        loaded = fp.load(tmp_path / "m")
        assert loaded.extra == {"table": table}
        assert loaded.preparation_ is None


def test_a_message_that_speaks_of_custom_is_a_file_error_too(path):
    change(path, set_at("layers", 0, "layer", "custom"))
    refused(path, "unknown layer 'custom'")
    change(path, set_at("layers", 0, {"layer": "dense", "units": 3, "bias": True, "bias_init": "zeros", "init": "auto",
                                      "activation": {"name": "nobodys", "fields": {}}}))  # fmt: skip
    with pytest.raises(fp.errors.MissingClassError, match=r"needs the activation 'nobodys'.*custom="):
        fp.load(path)


def test_arrays_are_not_read_where_they_do_not_fit(tmp_path):
    """8 MB that belong to another network: refused by their shapes."""
    fp.Network([fp.Dense(1000)], optimizer="sgd").build(2000).save(tmp_path / "m")
    change(tmp_path / "m", set_at("n_features", 1999))
    refused(tmp_path / "m", r"must have shape \(1999, 1000\), got \(2000, 1000\)", most=-(15 << 20))


def test_arrays_of_checkpoints_are_not_read_where_they_do_not_fit(tmp_path):
    fp.Network([fp.Dense(1000)], optimizer="sgd").build(2000).checkpoint(tmp_path / "run")
    description, arrays = checkpoints.read(tmp_path / "run")
    checkpoints.write(tmp_path / "run", {**description, "n_features": 1999}, arrays)
    (tmp_path / "run.previous").unlink()
    most = -(12 << 20)  # of 16 MB: the checksum is of blocks of 1 MB
    refused(tmp_path / "run", r"must have shape \(1999, 1000\), got \(2000, 1000\)", most, fp.resume)


def test_negative_variances(path):
    text, data = parts(path)
    entry = json.loads(text)["layers.1.running_variance"]["data_offsets"]
    write_text(path, text, data[: entry[0]] + struct.pack("<3f", 1, -1, 1) + data[entry[1] :])
    refused(path, "running_variance' must be >= 0")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak of the resident memory from /proc")
def test_a_large_model_takes_at_most_twice_its_file(tmp_path, run_script):
    """64 MB of four layers: the parameters, and one array at a time on the way."""
    net = fp.Network([fp.Dense(2048) for _ in range(4)], optimizer="adam").build(2048)
    net.save(tmp_path / "m")
    script = """
        import os, sys, fastprop as fp
        def peak():
            return next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("VmHWM"))
        fp.load(sys.argv[1]), fp.Network([fp.Dense(2)]).build(2)
        before, net = peak(), fp.load(sys.argv[2])
        print(peak() - before, os.path.getsize(sys.argv[2]))
    """
    fp.Network([fp.Dense(2)]).build(2).save(tmp_path / "small")
    grown, size = map(int, run_script(script, tmp_path / "small", tmp_path / "m").split())
    assert size > 64 << 20
    assert grown < 2 * size, f"{grown >> 20} MB for a file of {size >> 20} MB"
