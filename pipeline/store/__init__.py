"""The content-addressed, crash-safe store of step results.

    <root>/objects/<key[:2]>/<key>/manifest.json   what the result is, written last
                                   result/...      the result: read-only files
           work/<key>/          partial state of an unfinished step, survives a kill
           tmp/<process>/       staging of a process; tmp/<process>.lock says that it is alive
           damaged/<key>-<time>/
           locks/<key>.lock     who computes a key
           facts/<key>/         what is appended to a key and never judged, such as measurements
           logs/                what third-party code printed, a file for each run
           imports.json         index of a source file's digest -> what it imports
           sources/<path>.json  index of (size, times, inode) -> digest of a user's large folder

Three things carry it. A rename publishes a finished folder, so there is no half of a result. Every
record carries its own digest and every result those of its files, so what rots is noticed. Kernel
locks (flock) die with their holder, so nothing has to be mended after a kill.
"""

from edgestill.store.cleaning import Collected
from edgestill.store.entry import Entry, EntryInfo
from edgestill.store.facts import Facts, FactsInfo
from edgestill.store.key import Key
from edgestill.store.store import Store

__all__ = ["Collected", "Entry", "EntryInfo", "Facts", "FactsInfo", "Key", "Store"]
