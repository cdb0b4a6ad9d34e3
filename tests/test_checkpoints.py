"""Checkpoints on disk: two are kept, each damage is found, and a disk that fails leaves the fit usable."""

import errno
import os
import stat
import subprocess
import sys
import threading
import time
import tracemalloc
import warnings

import numpy as np
import pytest
from test_runs import X, Y, everything, fit, network, reference

import fastprop as fp
from fastprop import atomic, checkpoints, keeping

QUIET = {"progress": False}
ARRAYS = {"a": np.arange(12, dtype=np.float32).reshape(3, 4), "b": np.array([], np.float64), "c": np.arange(3)}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# ---- files --------------------------------------------------------------------------------------------------------


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "run.ckpt"
    checkpoints.write(path, {"k": [1, None, float("nan")]}, ARRAYS)
    description, arrays = checkpoints.read(path)
    assert repr(description) == "{'k': [1, None, nan]}"
    assert {k: (v.dtype, v.tolist()) for k, v in arrays.items()} == {
        k: (v.dtype, v.tolist()) for k, v in ARRAYS.items()
    }


def test_the_last_two_are_kept(tmp_path):
    path = tmp_path / "run.ckpt"
    for k in range(4):
        checkpoints.write(path, {"k": k}, ARRAYS)
        assert checkpoints.read(path)[0]["k"] == k
    assert checkpoints.read(tmp_path / "run.ckpt.previous")[0]["k"] == 2
    assert names(tmp_path) == ["run.ckpt", "run.ckpt.previous"]


@pytest.mark.parametrize("at", ["link", "replace", "replace 2"])
def test_a_writer_killed_between_two_steps_leaves_a_whole_file(at, tmp_path, monkeypatch):
    path = tmp_path / "run.ckpt"
    for k in range(2):
        checkpoints.write(path, {"k": k}, ARRAYS)
    name, _, count = at.partition(" ")
    function, left = getattr(os, name), [int(count or 1)]

    def killed(*args):
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        return function(*args)

    with monkeypatch.context() as context:
        context.setattr(os, name, killed)
        with pytest.raises(KeyboardInterrupt):
            checkpoints.write(path, {"k": 2}, ARRAYS)
    assert checkpoints.read(path)[0]["k"] == 1
    checkpoints.write(path, {"k": 3}, ARRAYS)
    assert checkpoints.read(path)[0]["k"] == 3
    assert checkpoints.read(tmp_path / "run.ckpt.previous")[0]["k"] == 1
    assert names(tmp_path) == ["run.ckpt", "run.ckpt.previous"]


def test_without_links(tmp_path, monkeypatch):
    path = tmp_path / "run.ckpt"

    def link(*args):
        raise OSError(errno.EPERM, "no links")

    monkeypatch.setattr(os, "link", link)
    for k in range(3):
        checkpoints.write(path, {"k": k}, ARRAYS)
    assert [checkpoints.read(p)[0]["k"] for p in (path, tmp_path / "run.ckpt.previous")] == [2, 1]
    assert names(tmp_path) == ["run.ckpt", "run.ckpt.previous"]


def test_every_flipped_bit_and_every_end_is_found(tmp_path):
    path = tmp_path / "run.ckpt"
    checkpoints.write(path, {"k": 1}, ARRAYS)
    whole = path.read_bytes()
    for at in range(len(whole)):
        for damaged in (whole[:at] + bytes([whole[at] ^ (1 << at % 8)]) + whole[at + 1 :], whole[:at]):
            path.write_bytes(damaged)
            with pytest.raises(fp.FileError, match=r"run\.ckpt"):
                checkpoints.read(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(fp.FileError, match="checksum"):
        checkpoints.read(path)


@pytest.mark.parametrize("damage", ["flipped", "truncated", "empty", "missing", "a folder"])
def test_the_one_before_is_taken_with_a_warning(damage, tmp_path):
    path = tmp_path / "run.ckpt"
    for k in range(2):
        checkpoints.write(path, {"k": k}, ARRAYS)
    whole = bytearray(path.read_bytes())
    whole[-3] ^= 1
    path.unlink()
    if damage == "a folder":
        path.mkdir()
    elif damage != "missing":
        path.write_bytes({"flipped": whole, "truncated": whole[:-1], "empty": b""}[damage])
    with pytest.warns(RuntimeWarning, match=r"run\.ckpt.*previous, is taken"):
        assert checkpoints.read(path)[0]["k"] == 0
    (tmp_path / "run.ckpt.previous").write_bytes(b"x")
    with pytest.raises(fp.FileError, match=r"run\.ckpt.*nor the one before it"):
        checkpoints.read(path)


def test_a_damaged_one_does_not_push_out_the_one_before_it(tmp_path, monkeypatch):
    """Should the new one not come to be, there is still one that can be read."""
    path = tmp_path / "run.ckpt"
    for k in range(2):
        checkpoints.write(path, {"k": k}, ARRAYS)
    whole = bytearray(path.read_bytes())
    whole[-1] ^= 1
    path.write_bytes(whole)
    replace = os.replace

    def fails(source, target):
        if os.fspath(target) == os.fspath(path):
            raise OSError(errno.ENOSPC, "full")
        replace(source, target)

    with monkeypatch.context() as context:
        context.setattr(os, "replace", fails)
        with pytest.raises(OSError, match=r"run\.ckpt"):
            checkpoints.write(path, {"k": 2}, ARRAYS)
    with pytest.warns(RuntimeWarning, match="previous, is taken"):
        assert checkpoints.read(path)[0]["k"] == 0
    checkpoints.write(path, {"k": 2}, ARRAYS)
    assert [checkpoints.read(p)[0]["k"] for p in (path, tmp_path / "run.ckpt.previous")] == [2, 0]


def test_everything_is_on_disk_before_it_has_its_name(tmp_path, monkeypatch):
    """The file before it takes the name, the folder after that."""
    done, fsync, replace = [], os.fsync, os.replace

    def flushed(descriptor):
        done.append(("fsync", os.fstat(descriptor).st_ino))
        fsync(descriptor)

    def replaced(source, target):
        done.append(("replace", os.stat(source).st_ino, os.path.basename(target)))
        replace(source, target)

    path = tmp_path / "run.ckpt"
    checkpoints.write(path, {}, ARRAYS)
    former = path.stat().st_ino
    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(os, "replace", replaced)
    checkpoints.write(path, {}, ARRAYS)
    new, folder = path.stat().st_ino, tmp_path.stat().st_ino
    assert done == [
        ("fsync", new), ("replace", former, "run.ckpt.previous"), ("replace", new, "run.ckpt"), ("fsync", folder),
    ]  # fmt: skip


@pytest.mark.parametrize("error", [errno.EINVAL, errno.ENOTSUP])
def test_folders_that_cannot_be_flushed(error, tmp_path, monkeypatch):
    fsync = os.fsync

    def flushed(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(error, "not for folders")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", flushed)
    checkpoints.write(tmp_path / "run.ckpt", {"k": 0}, ARRAYS)
    assert checkpoints.read(tmp_path / "run.ckpt")[0]["k"] == 0


def test_a_name_that_is_too_long_for_the_one_before_is_refused_at_once(tmp_path):
    with pytest.raises(OSError, match=r"q\.previous") as caught:
        fit(network(), {}, checkpoint=tmp_path / ("q" * 250))
    assert caught.value.errno == errno.ENAMETOOLONG
    assert names(tmp_path) == []


# ---- what is no checkpoint ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", ["a,b\n1,2\n", "model"])
def test_other_files_are_not_overwritten(content, tmp_path):
    path, net = tmp_path / "d.csv", network().build(5)
    path.write_text(content)
    if content == "model":
        net.save(path)
    before = path.read_bytes()
    with pytest.raises(fp.FileError, match=r"d\.csv"):
        net.checkpoint(path)
    with pytest.raises(fp.FileError, match=r"d\.csv"):
        fit(net, {}, checkpoint=path)
    assert net._parameters.count == 0
    assert path.read_bytes() == before
    assert names(tmp_path) == ["d.csv"]


@pytest.mark.parametrize("content", [b"", b"damaged from its first byte on"])
def test_what_was_a_checkpoint_may_be_overwritten(content, tmp_path):
    path, net = tmp_path / "run.ckpt", network().build(5)
    for _ in range(2):
        net.checkpoint(path)
    path.write_bytes(content)
    net.checkpoint(path)
    assert fp.resume(path).predict(X).shape == (300,)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
def test_pipes_and_devices_stay_what_they_are(tmp_path):
    path, net = tmp_path / "pipe", network().build(5)
    os.mkfifo(path)
    for write in (net.checkpoint, net.save, lambda path: fit(net, {}, checkpoint=path)):
        with pytest.raises(OSError, match=r"not a regular file.*pipe"):
            write(path)
    assert stat.S_ISFIFO(path.stat().st_mode)
    assert names(tmp_path) == ["pipe"]


def test_neither(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"run\.ckpt"):
        fp.resume(tmp_path / "run.ckpt")


def test_models_and_checkpoints_are_told_apart(tmp_path):
    net = network()
    net.partial_fit(X, Y)
    net.save(tmp_path / "m.safetensors")
    net.checkpoint(tmp_path / "run.ckpt")
    with pytest.raises(fp.FileError, match="not a checkpoint"):
        fp.resume(tmp_path / "m.safetensors")
    with pytest.raises(fp.FileError, match=r"a checkpoint, for fp\.resume"):
        fp.load(tmp_path / "run.ckpt")


def test_reading_takes_at_most_twice_the_file(tmp_path):
    net = fp.Network([fp.Dense(1000), fp.Dense(1000)], "mse", fp.SGD(0.1)).build(1000)
    net.checkpoint(tmp_path / "run.ckpt")
    size = (tmp_path / "run.ckpt").stat().st_size
    tracemalloc.start()
    checkpoints.read(tmp_path / "run.ckpt")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size < peak <= 2 * size


def change(description, *keys, to):
    for key in keys[:-1]:
        description = description[key]
    description[keys[-1]] = to


@pytest.mark.parametrize(
    ("keys", "to"),
    [
        (("count",), -1), (("count",), "3"), (("rule",), "sgd"), (("epochs_done",), None), (("shows_best",), True),
        (("history",), 3), (("run", "standing", "n_epochs"), 2**70), (("run", "standing", "n_epochs"), 7),
        (("run", "standing", "watch"), None), (("run", "place", "base"), 10**6), (("run", "place", "more"), 1),
        (("run", "place"), 4), (("run", "sums"), [1.0]), (("run", "history", "loss"), ["x"]), (("run", "more"), 1),
        (("run", "history"), []), (("run", "arguments"), []), (("run", "seconds"), "1"), (("run",), {}),
    ],
)  # fmt: skip
def test_descriptions_that_no_fit_wrote(keys, to, tmp_path):
    """Under a right checksum: FileError, or a network that can be asked."""
    path = tmp_path / "run.ckpt"
    net = network()
    with pytest.raises(KeyboardInterrupt):
        fit(net, {}, callbacks=lambda: Interrupt(25))
    net.checkpoint(path)
    description, arrays = checkpoints.read(path)
    description.pop("version", None)
    change(description, *keys, to=to)
    checkpoints.write(tmp_path / "other.ckpt", description, arrays)
    if keys in {("rule",), ("run", "standing", "watch")}:
        fp.resume(tmp_path / "other.ckpt").predict(X)
        return
    with pytest.raises(fp.FileError, match=r"other\.ckpt"):
        fp.resume(tmp_path / "other.ckpt")


@pytest.mark.parametrize("name", ["layers.0.W", "layers.1.b", "best.layers.0.W"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite(name, value, tmp_path):
    """Under a right checksum; of models as well."""
    path, net = tmp_path / "run.ckpt", network()
    fit(net, {}, early_stopping=fp.EarlyStopping(9, monitor="loss"))
    net.checkpoint(path)
    description, arrays = checkpoints.read(path)
    description.pop("version", None)
    arrays[name].flat[0] = value
    checkpoints.write(path, description, arrays)
    with pytest.raises(fp.FileError, match=rf"run\.ckpt: array '{name.removeprefix('best.')}' is not finite"):
        fp.resume(path)
    if name.startswith("layers"):
        net._parameters.rows[0] = value
        net.save(tmp_path / "m.safetensors")
        with pytest.raises(fp.FileError, match=r"m\.safetensors: array 'layers\..*' is not finite"):
            fp.load(tmp_path / "m.safetensors")


class Interrupt:
    def __init__(self, step, error=KeyboardInterrupt):
        self.step, self.error = step, error

    def on_step(self, net, step, logs):
        if step == self.step:
            raise self.error


# ---- what killed writers leave ------------------------------------------------------------------------------------


def test_left_overs_of_dead_writers_are_removed(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    here, elsewhere = f"00000000-{atomic.HOST}.tmp", "00000000-01234567.tmp"
    (tmp_path / f".run.ckpt.{dead.pid}-{here}").write_text("x")
    (tmp_path / f".run.ckpt.{os.getpid()}-{here}").write_text("x")
    old = tmp_path / f".run.ckpt.7-{elsewhere}"
    old.write_text("x")
    os.utime(old, (time.time() - 1.1 * atomic.ABANDONED_SECONDS,) * 2)
    kept = [f".run.ckpt.{os.getppid()}-{here}", f".run.ckpt.{dead.pid}-{elsewhere}", f".other.{dead.pid}-{here}"]
    kept.append(".run.ckpt.mine.tmp")
    for name in kept:
        (tmp_path / name).write_text("x")
    checkpoints.write(tmp_path / "run.ckpt", {}, ARRAYS)
    assert names(tmp_path) == sorted([*kept, "run.ckpt"])


@pytest.mark.parametrize("name", ["q" * 240, "\u6f22" * 80], ids=["ascii", "3 bytes each"])
def test_names_as_long_as_may_be(name, tmp_path):
    """255 bytes are allowed, of which ".previous" takes 9."""
    for k in range(2):
        checkpoints.write(tmp_path / name, {"k": k}, ARRAYS)
    assert names(tmp_path) == [name, f"{name}.previous"]


def test_a_symbolic_link_and_the_mode_stay(tmp_path):
    target = tmp_path / "far" / "target.ckpt"
    target.parent.mkdir()
    (tmp_path / "run.ckpt").symlink_to(target)
    checkpoints.write(tmp_path / "run.ckpt", {"k": 0}, ARRAYS)
    target.chmod(0o640)
    checkpoints.write(tmp_path / "run.ckpt", {"k": 1}, ARRAYS)
    assert (tmp_path / "run.ckpt").is_symlink()
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert names(target.parent) == ["target.ckpt", "target.ckpt.previous"]


# ---- disks that fail ----------------------------------------------------------------------------------------------


def fails(monkeypatch, path, error, after=1):
    """Have writing to `path` fail with `error`, but for the first `after` times."""
    replacing, left = checkpoints.replacing, [after]

    def failing(target, *args):
        if os.fspath(target) == os.fspath(path):
            left[0] -= 1
            if left[0] < 0:
                monkeypatch.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError(error, "no")))
        return replacing(target, *args)

    monkeypatch.setattr(checkpoints, "replacing", failing)


def goes_on_elsewhere(net, tmp_path):
    """Whether the position can be saved at another place, and ends in the same bits."""
    net.checkpoint(tmp_path / "elsewhere.ckpt")
    net.predict(X)
    again = fp.resume(tmp_path / "elsewhere.ckpt")
    done = len(again.history_["loss"])
    fit(again, {}, epochs=3000)
    return done < 3000 and everything(again) == long_reference()


_long = []


def long_reference():
    if not _long:
        net = network()
        fit(net, {}, epochs=3000)
        _long.append(everything(net))
    return _long[0]


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_a_disk_that_fails(error, tmp_path, monkeypatch):
    path, net = tmp_path / "run.ckpt", network()
    with monkeypatch.context() as context:
        fails(context, path, error)
        with pytest.raises(OSError, match=r"run\.ckpt") as caught:
            fit(net, {}, epochs=3000, checkpoint=path, checkpoint_every=0.001)
    assert caught.value.errno == error
    assert caught.value.filename == os.fspath(path)
    assert names(tmp_path) == ["run.ckpt"]
    fp.resume(path)
    assert goes_on_elsewhere(net, tmp_path)


def test_a_file_that_grows_too_large(tmp_path):
    """A real limit of the system (files of 4 KB), in a process of its own."""
    code = f"""
import resource, signal, errno, sys
sys.path.insert(0, {os.path.dirname(__file__)!r})
from test_checkpoints import *
net = network()
fit(net, {{}}, epochs=1)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
before = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
net = network()
try:
    fit(net, {{}}, epochs=3000, checkpoint={os.fspath(tmp_path / "run.ckpt")!r}, checkpoint_every=0.001)
except OSError as error:
    assert error.errno == errno.EFBIG and "run.ckpt" in str(error), error
else:
    raise AssertionError("no error")
resource.setrlimit(resource.RLIMIT_FSIZE, before)
import pathlib
assert names(pathlib.Path({os.fspath(tmp_path)!r})) == []
assert goes_on_elsewhere(net, pathlib.Path({os.fspath(tmp_path)!r}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr


def test_a_folder_that_vanishes(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()

    class Vanish:
        def on_epoch_end(self, net, epoch, logs):
            if epoch == 5:
                folder.rename(tmp_path / "gone")

    net = network()
    with pytest.raises(FileNotFoundError, match=r"folder.run\.ckpt"):
        fit(net, {}, epochs=3000, checkpoint=folder / "run.ckpt", checkpoint_every=0.001, callbacks=lambda: Vanish())
    assert 5 < len(net.history_["loss"]) < 3000
    assert goes_on_elsewhere(net, tmp_path)


@pytest.mark.parametrize("where", ["missing/run.ckpt", "file/run.ckpt", "."])
def test_a_place_that_cannot_be_written_is_refused_before_training(where, tmp_path):
    (tmp_path / "file").write_text("x")
    net = network().build(5)
    weights = net.get_weights()[0][0]
    with pytest.raises(OSError, match=str(tmp_path / where)):
        fit(net, {}, checkpoint=tmp_path / where)
    assert np.array_equal(net.get_weights()[0][0], weights)
    with pytest.raises(OSError, match=str(tmp_path / where)):
        net.checkpoint(tmp_path / where)
    net = network()
    with pytest.raises(OSError, match=str(tmp_path / where)):
        fit(net, {}, checkpoint=tmp_path / where)
    assert not net.is_built


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match=r"run\.ckpt"):
        fit(network(), {}, checkpoint=tmp_path / "run.ckpt")
    tmp_path.chmod(0o700)


def test_a_read_only_folder_as_root(tmp_path, monkeypatch):
    def touch(self, *args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(atomic.pathlib.Path, "touch", touch)
    with pytest.raises(PermissionError, match=r"run\.ckpt'$"):
        fit(network(), {}, checkpoint=tmp_path / "run.ckpt")


def test_an_error_of_the_fit_is_not_hidden_by_one_of_the_disk(tmp_path, monkeypatch):
    path, net = tmp_path / "run.ckpt", network()
    fails(monkeypatch, path, errno.ENOSPC, after=0)
    with pytest.warns(RuntimeWarning, match="no checkpoint of how"), pytest.raises(KeyboardInterrupt):
        fit(net, {}, checkpoint=path, callbacks=lambda: Interrupt(20))


def test_the_last_checkpoint_is_where_the_fit_was_interrupted(tmp_path):
    path, net = tmp_path / "run.ckpt", network()
    with pytest.raises(KeyboardInterrupt):
        fit(net, {}, checkpoint=path, callbacks=lambda: Interrupt(20))
    again = fp.resume(path)
    assert again._parameters.count == 21
    fit(again, {})
    assert everything(again) == reference("batch")[0]


def test_weights_that_diverged_are_not_written(tmp_path, monkeypatch):
    """The last update before a loss that is not finite may have ruined them; the file before stays."""
    finite, offered = [], []
    write, look = checkpoints.write, keeping.Keeper.look
    monkeypatch.setattr(
        keeping.checkpoints,
        "write",
        lambda path, description, arrays: (
            finite.append(np.isfinite(arrays["layers.0.W"]).all()),
            write(path, description, arrays),
        ),
    )

    def offer(self, trainer):
        offered.append(np.isfinite(self.net._parameters.rows[0]).all())
        self.next = 0.0
        look(self, trainer)
        if self.thread is not None:
            self.thread.join()

    monkeypatch.setattr(keeping.Keeper, "look", offer)
    monkeypatch.setattr("fastprop.trainer.Trainer._slice_chunks", lambda self: 1)
    with pytest.raises(fp.DivergenceError):
        fit(network(lr=fp.schedules.Step(0.01, 20, 1e41)), {}, checkpoint=tmp_path / "run.ckpt")
    assert not offered[-1]
    assert all(finite)
    assert len(finite) == len(offered)  # all but the last, and how the fit ended


def test_nothing_is_written_for_data_that_are_refused(tmp_path):
    path, net = tmp_path / "run.ckpt", network()
    bad = X.copy()
    bad[3, 2] = np.nan
    with pytest.raises(ValueError, match="row 3"):
        net.fit(bad, Y, checkpoint=path, **QUIET)
    assert names(tmp_path) == []


# ---- the thread ---------------------------------------------------------------------------------------------------


def slow(monkeypatch, seconds):
    write = checkpoints.write

    def slowly(*args):
        time.sleep(seconds)
        write(*args)

    monkeypatch.setattr(keeping.checkpoints, "write", slowly)


def test_no_thread_is_left(tmp_path, monkeypatch):
    slow(monkeypatch, 0.05)
    fit(network(), {}, epochs=300, checkpoint=tmp_path / "run.ckpt", checkpoint_every=1e-3)
    assert not [t for t in threading.enumerate() if t.name == "fastprop checkpoint"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_of_a_fork_while_a_checkpoint_is_written(tmp_path, monkeypatch):
    """The writing thread is not there in the child, which can go on and write its own."""
    slow(monkeypatch, 0.2)

    class Fork:
        child = None

        def on_epoch_end(self, net, epoch, logs):
            if self.child is None and any(t.name == "fastprop checkpoint" for t in threading.enumerate()):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", DeprecationWarning)
                    self.child = os.fork()
                if self.child == 0:
                    net.checkpoint(tmp_path / "child.ckpt")
                    os._exit(0)

    fork = Fork()
    fit(network(), {}, epochs=1000, checkpoint=tmp_path / "run.ckpt", checkpoint_every=1e-3, callbacks=lambda: fork)
    assert fork.child
    assert os.waitpid(fork.child, 0)[1] == 0
    fp.resume(tmp_path / "child.ckpt")
    fp.resume(tmp_path / "run.ckpt")


def test_the_interpreter_ends_while_a_checkpoint_is_written(tmp_path, run_script):
    source = """
        import sys, time
        import numpy as np
        import fastprop as fp
        from fastprop import keeping
        keeping.checkpoints.write = lambda *args: time.sleep(1000)

        class Leave:
            def on_epoch_end(self, net, epoch, logs):
                if keeper[0].is_writing:
                    raise KeyboardInterrupt

        keeper = []
        init = keeping.Keeper.__init__
        keeping.Keeper.__init__ = lambda self, *args: (keeper.append(self), init(self, *args))[1]
        keeping.Keeper.close = lambda self, failure=None: None
        net = fp.Network([fp.Dense(1)], "mse", fp.SGD(0.01))
        try:
            net.fit(np.ones((100, 3)), np.ones(100), epochs=10**6, progress=False, callbacks=Leave(),
                    checkpoint=sys.argv[1], checkpoint_every=1e-3)
        except KeyboardInterrupt:
            print("left")
    """
    assert run_script(source, tmp_path / "run.ckpt", timeout=60) == "left\n"
