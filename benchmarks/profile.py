"""Where the time of a training step goes, beside the least that each phase can take.

    python benchmarks/profile.py wide-128                    a cell of the comparison with peers
    python benchmarks/profile.py 28-64-64-1:256 --threads 2
    python benchmarks/profile.py wide-128 --optimizer adam --between dropout

Marks between the instructions of the engine's programs read the processor's counter (see marks.py), in runs on
shuffled rows; runs without marks, in turns with them, give the time of a whole step. Times are means over the fastest
quarter of the runs, with several threads means over the workers too.

The floor of a phase is its arithmetic at the ceiling of multiply-adds, or its bytes at the bandwidth of the memory
where they live, whichever is longer; both are measured in the same run (see floors.py). "Update" is the product that
makes the gradient and the rule: one pass. Where one sample makes an update, the error of a layer's input comes from
the same pass.
"""

from __future__ import annotations

import sys

if __name__ == "profile":  # Python's module of this name, which cProfile imports: scripts in this folder see ours
    import importlib.util
    import sysconfig
    from pathlib import Path

    path = Path(sysconfig.get_path("stdlib"), "profile.py")
    spec = importlib.util.spec_from_file_location("profile", path)
    sys.modules["profile"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["profile"])
else:
    from step_profile import main

if __name__ == "__main__":
    main(__doc__)
