"""The digest of the code that a result depends on, found by reading source, never by importing it.

Of local code (edgestill's own, and the user's files beside the one that is named) every file counts
that an import statement can reach, at whatever depth of the program it stands. Of an installed
library its version counts, of the standard library nothing.
"""

from edgestill.source_code.digests import (
    CodeDigest,
    code_digest,
    require_defined,
    stage_digest,
    undeclared,
)
from edgestill.source_code.index import remembered_imports

__all__ = [
    "CodeDigest",
    "code_digest",
    "remembered_imports",
    "require_defined",
    "stage_digest",
    "undeclared",
]
