"""The benchmarks that `asv` runs: their growth with every size, and from commit to commit. See CONTRIBUTING.md.

A benchmark's name is its module, class and method. `time_*` are seconds of one step, row or call, whatever the number
that was timed at once; `track_*` say their unit; `peakmem_*` are bytes of the process, some 150 MB of them Numba's.

asv imports this package by itself and runs it with the fastprop of the commit that it measures, so what is not public
is imported where it is used: a commit without it fails one benchmark.
"""

import importlib.util
import sys
from pathlib import Path

_FOLDER = Path(__file__).resolve().parent.parent

sys.path.append(str(_FOLDER))  # for `cells` and `start`, which the scripts there share
if importlib.util.find_spec("fastprop") is None:  # `asv run --python=same` in a clone that was not installed
    sys.path.append(str(_FOLDER.parent))
