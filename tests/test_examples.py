"""The examples run, and end where they say."""

import importlib.util
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "examples"


def load(name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(not FOLDER.is_dir(), reason="needs the repository's examples/")
def test_digits():
    assert load("digits").main() >= 0.97


@pytest.mark.skipif(not FOLDER.is_dir(), reason="needs the repository's examples/")
def test_large_sgd(tmp_path):
    """On files that are read in windows, since the memory is small; sorted by the target."""
    example = load("large_sgd")
    paths = example.make_flights(tmp_path, n_rows=40_000)
    out = tmp_path / "m.safetensors"
    assert example.main([*map(str, paths), "--memory", "16MB", "--out", str(out)]) > 0.7
    assert out.exists()
    assert not out.with_suffix(".ckpt").exists()
