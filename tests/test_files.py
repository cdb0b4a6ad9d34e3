"""Files: what is written is read; anything else is refused with the path and the reason, and harms nothing."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import struct
import sys
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fastprop as fp
from fastprop import files
from fastprop.errors import FileError

pytestmark = pytest.mark.quick
ARRAYS = {
    "W": np.arange(6, dtype=np.float32).reshape(2, 3),
    "transposed": np.arange(6.0).reshape(2, 3).T,
    "strided": np.arange(10)[::3],
    "empty": np.zeros((0, 4)),
    "scalar": np.array(2.5),
}
DESCRIPTION = {"layers": [{"layer": "dense", "units": 3}], "loss": [0.5, float("inf")], "café": "naïve \u2603"}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "m.safetensors"
    files.write(path, DESCRIPTION, ARRAYS)
    return path


def header_of(path):
    raw = path.read_bytes()
    n = struct.unpack("<Q", raw[:8])[0]
    return json.loads(raw[8 : 8 + n]), raw[8 + n :]


def write_raw(path, header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def test_round_trip(path):
    description, arrays = files.read(path)
    assert description == DESCRIPTION
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        assert arrays[name].flags.writeable
        np.testing.assert_array_equal(arrays[name], array, strict=True)


def test_numpy_numbers_in_the_description(tmp_path):
    files.write(tmp_path / "a", {"n": np.int64(3), "x": np.float32(0.5), "flag": np.True_}, {})
    assert files.read(str(tmp_path / "a")) == ({"n": 3, "x": 0.5, "flag": True}, {})


def test_any_safetensors_reader_sees_the_arrays(path):
    from safetensors.numpy import load_file

    np.testing.assert_array_equal(load_file(path)["W"], ARRAYS["W"])


@pytest.mark.parametrize("dtype", ["float16", "int32", ">f4", "bool", "complex64", "object"])
def test_other_dtypes_are_not_written(tmp_path, dtype):
    with pytest.raises(TypeError, match="array 'a' must be float32, float64 or int64"):
        files.write(tmp_path / "a", {}, {"a": np.zeros(2, dtype)})
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_the_old_file(path, monkeypatch):
    before = path.read_bytes()
    with pytest.raises(TypeError, match="JSON"):
        files.write(path, {"what": object()}, {})
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        files.write(path, {}, {})
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.skipif(sys.platform == "win32", reason="no limits of processes")
def test_a_full_disk_is_an_os_error_that_names_the_path(tmp_path, run_script):
    script = """
        import errno, resource, sys, fastprop as fp
        net = fp.Network([fp.Dense(100)]).build(100)
        ways = {sys.argv[1]: net.save, sys.argv[2]: net.checkpoint}
        before = {path: write(path) or open(path, "rb").read() for path, write in ways.items()}
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        for path, write in ways.items():
            try:
                write(path)
            except OSError as error:
                print(error.errno == errno.EFBIG, error.filename == path, open(path, "rb").read() == before[path])
    """
    assert run_script(script, tmp_path / "m", tmp_path / "c").split() == ["True"] * 6
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c", "m"]


def test_writing_over_a_file(path):
    files.write(path, {"second": True}, {})
    assert files.read(path) == ({"second": True}, {})


@pytest.mark.skipif(sys.platform == "win32", reason="no permission bits")
def test_permissions_follow_the_umask_and_the_old_file(tmp_path):
    path = tmp_path / "a"
    old = os.umask(0o022)
    try:
        files.write(path, {}, {})
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    path.chmod(0o640)
    files.write(path, {}, {})
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.skipif(sys.platform == "win32", reason="symbolic links need rights")
def test_symbolic_links_stay(path):
    link = path.with_name("link")
    link.symlink_to(path)
    files.write(link, {"through": 1}, {})
    assert link.is_symlink()
    assert files.read(path)[0] == {"through": 1}


def test_folders_and_missing_files(tmp_path):
    with pytest.raises(OSError):
        files.write(tmp_path, {}, {})
    with pytest.raises(FileNotFoundError):
        files.write(tmp_path / "no" / "a", {}, {})
    with pytest.raises(FileNotFoundError):
        files.read(tmp_path / "missing")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({}, "not written by fastprop"),
        ({"__metadata__": {"format": "pt"}}, "not written by fastprop"),
        ({"__metadata__": []}, "metadata are damaged"),
        ({"__metadata__": {"fastprop": 3}}, "not written by fastprop"),
        ({"__metadata__": {"fastprop": "{"}}, "not JSON"),
        ({"__metadata__": {"fastprop": "[" * 100_000}}, "not JSON"),
        ({"__metadata__": {"fastprop": "[]"}}, "not a JSON object"),
        ({"__metadata__": {"fastprop": "{}"}}, "has no version"),
        ({"__metadata__": {"fastprop": '{"version": "1"}'}}, "has no version"),
        ({"__metadata__": {"fastprop": '{"version": 99}'}}, "format 99, this fastprop reads up to 1: upgrade"),
        ([], "not a JSON object"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_foreign_headers(tmp_path, header, message):
    path = tmp_path / "foreign"
    write_raw(path, header)
    with pytest.raises(FileError, match=rf"cannot read .*foreign: .*{message}"):
        files.read(path)


@pytest.mark.parametrize(
    ("change", "data"),
    [
        ({"dtype": "F16"}, None),
        ({"dtype": "BF16"}, None),
        ({"dtype": "nonsense"}, None),
        ({"shape": [2, 4]}, None),
        ({"shape": [2**40, 2**40]}, None),
        ({"shape": [-2, -3]}, None),
        ({"data_offsets": [0, 10**9]}, None),
        ({"data_offsets": [8, 0]}, None),
        ({}, b"short"),
    ],
)
def test_damaged_arrays(tmp_path, change, data):
    path = tmp_path / "damaged"
    files.write(path, {}, {"W": ARRAYS["W"]})
    header, original = header_of(path)
    header["W"] |= change
    write_raw(path, header, original if data is None else data)
    with pytest.raises(FileError, match="damaged: "):
        files.read(path)


def test_a_huge_header_takes_no_memory(tmp_path):
    path = tmp_path / "huge"
    path.write_bytes(struct.pack("<Q", 2**62) + b"{}")
    with pytest.raises(FileError, match="truncated or not a safetensors file"):
        files.read(path)


@pytest.mark.parametrize("content", [b"", b"abc", b"\x80\x04\x95pickle....", b"PK\x03\x04" + b"\0" * 30])
def test_other_files(tmp_path, content):
    path = tmp_path / "other"
    path.write_bytes(content)
    with pytest.raises(FileError, match="other: "):
        files.read(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(data=st.data())
def test_truncated_and_flipped_bytes_give_file_errors_or_arrays(path, data):
    raw = path.read_bytes()
    broken = path.with_name("broken")
    if data.draw(st.booleans()):
        broken.write_bytes(raw[: data.draw(st.integers(0, len(raw) - 1))])
        with pytest.raises(FileError):
            files.read(broken)
        return
    at = data.draw(st.integers(0, len(raw) - 1))
    broken.write_bytes(raw[:at] + bytes([raw[at] ^ data.draw(st.integers(1, 255))]) + raw[at + 1 :])
    with contextlib.suppress(FileError):
        files.read(broken)


def test_what_estimators_register_is_known_by_name(run_script):
    script = """
        from fastprop.components import OF_ESTIMATORS
        from fastprop.kernels import activations, losses, optimizers
        registries = [activations.ACTIVATIONS, losses.LOSSES, optimizers.RULES]
        before = {name for registry in registries for name in registry}
        import fastprop.estimators
        print({name for registry in registries for name in registry} - before == OF_ESTIMATORS)
    """
    assert run_script(script).strip() == "True"


def test_networks_of_estimators_load_where_no_estimator_was_asked_for(tmp_path, run_script):
    """Their rules and losses of their own are known by name."""
    X = np.random.default_rng(0).normal(size=(50, 3))
    y = X[:, 0] > 0
    models = (
        fp.MLPClassifier((4,), solver="sgd", max_iter=3, tol=0.0, random_state=0),
        fp.SGDClassifier("perceptron", mode="minibatch", max_iter=3, tol=None, random_state=0),
    )
    for k, model in enumerate(models):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(X, y)
        model.network_.save(tmp_path / f"{k}.safetensors")
    script = "import sys, fastprop as fp; print(*(type(fp.load(path)).__name__ for path in sys.argv[1:]))"
    assert run_script(script, *sorted(tmp_path.glob("*.safetensors"))).split() == ["Network"] * 2
