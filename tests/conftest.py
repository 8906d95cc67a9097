"""What every test process needs before torch is imported."""

from __future__ import annotations

from edgestill.extras import set_switches

set_switches("torch")
