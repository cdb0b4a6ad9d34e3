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
    assert sorted(path.name for path in tmp_path.iterdir() if path not in paths) == ["m.safetensors"]


@pytest.mark.skipif(not FOLDER.is_dir(), reason="needs the repository's examples/")
def test_large_sgd_goes_on(tmp_path, capsys):
    """From the checkpoint before, where the newest has vanished."""
    example = load("large_sgd")
    arguments = [*map(str, example.make_flights(tmp_path, n_rows=4_000)), "--out", str(tmp_path / "m.safetensors")]
    fit = example.fp.Network.fit

    def stopped(net, *args, epochs, **options):
        fit(net, *args, epochs=1, **options)
        net.checkpoint(options["checkpoint"])
        options["checkpoint"].rename(tmp_path / "m.ckpt.previous")
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(example.fp.Network, "fit", stopped)
        with pytest.raises(KeyboardInterrupt):
            example.main(arguments)
    with pytest.warns(RuntimeWarning, match="previous, is taken"):
        example.main(arguments)
    printed = capsys.readouterr().out
    assert "no checkpoint yet" in printed
    assert "m.ckpt, after 1 epochs" in printed
    assert not list(tmp_path.glob("*.ckpt*"))
