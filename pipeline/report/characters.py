"""Characters that no XML or HTML may hold, as text that shows which they were."""

from __future__ import annotations

import re

# All but the `Char` of XML 1.0 (section 2.2): control characters, surrogates, U+FFFE and U+FFFF.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def visible(text: str) -> str:
    """`text` with every forbidden character as its escape, such as `\\x1b`."""
    return _FORBIDDEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
