"""The release folder: written whole or not at all, and checked before anything in it is opened.

manifest.json                  every file with its sha256 and size; sealed by a digest of itself
release.json                   what `verify` needs to know: task, gates, targets, how to measure
recipe.yaml                    the recipe it was made from
report.json  .md  .html        what the run found
model/                         the float student as ONNX
quantized/<scheme>/            the int8 student as ONNX
targets/<target>/<precision>/  engines; `teacher` is the baseline of speed-ups
evaluation/                    the test split
references/{teacher,student}/  their answers on it
code/                          a user's own metric, run only when allowed
"""

from edgestill.release.description import (
    CODE,
    QUANTIZED,
    Release,
    ReleaseDescription,
    ReleasedTarget,
)
from edgestill.release.manifest import MANIFEST, read_manifest, require_unchanged
from edgestill.release.reading import open_release
from edgestill.release.writing import ReleaseWriter, writing

__all__ = [
    "CODE",
    "MANIFEST",
    "QUANTIZED",
    "Release",
    "ReleaseDescription",
    "ReleaseWriter",
    "ReleasedTarget",
    "open_release",
    "read_manifest",
    "require_unchanged",
    "writing",
]
