"""What edgestill's own lines take of a first run of the digits preset, by cProfile.

    python tests/benchmarks/own_code.py --store FOLDER --out FOLDER

Prints the functions that take most and, as the last line, JSON with the sum. Counted is the time
spent in functions of edgestill themselves and in Python's built-ins that they call. Not counted are
training (`edgestill/train`, the models), what other libraries do, and waiting for worker processes,
in which runtimes compile, answer and are timed.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
from pathlib import Path
from typing import Any

import edgestill.targets
from edgestill.api.run import run_recipe
from edgestill.errors import ExitCode

HOMES = tuple(
    str(Path(file).resolve().parent) for file in (edgestill.__file__, edgestill.targets.__file__)
)
TRAINING = ("/train/", "/models/")
LIBRARIES = ("torch", "numpy", "onnx", "openvino", "nncf", "tensorrt", "pyarrow", "sklearn")
WAITING = ("select.select", "select.poll", "posix.waitpid", "time.sleep", "posix.read")
SHOWN = 15


def own_seconds(stats: dict[Any, Any]) -> dict[str, float]:
    """Seconds by function of ours, what built-ins take on its behalf included."""
    found: dict[str, float] = {}
    for (file, line, name), (_, _, self_seconds, _, callers) in stats.items():
        if _is_counted(file):
            label = f"{Path(file).name}:{line} {name}"
            found[label] = found.get(label, 0.0) + self_seconds
        elif file == "~" and not any(word in name for word in (*LIBRARIES, *WAITING)):
            for (caller_file, caller_line, caller), (_, _, seconds, _) in callers.items():
                if _is_counted(caller_file):
                    label = f"{Path(caller_file).name}:{caller_line} {caller}"
                    found[label] = found.get(label, 0.0) + seconds
    return found


def _is_counted(file: str) -> bool:
    path = str(Path(file).resolve()) if file not in ("~", "") else ""
    return path.startswith(HOMES) and not any(part in path for part in TRAINING)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    profiler = cProfile.Profile()
    profiler.enable()
    report = run_recipe("digits", store=arguments.store, out=arguments.out)
    profiler.disable()
    assert report.exit_code in (ExitCode.PASSED, ExitCode.INCONCLUSIVE), report.verdict
    stats: Any = pstats.Stats(profiler)
    seconds = own_seconds(stats.stats)
    for label, value in sorted(seconds.items(), key=lambda item: -item[1])[:SHOWN]:
        print(f"{value:7.3f} s  {label}")
    print(json.dumps({"own_seconds": sum(seconds.values())}))


if __name__ == "__main__":
    main()
