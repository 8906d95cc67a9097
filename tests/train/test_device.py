"""Everything that a distillation computes with is on the device of the student."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("another_device.py")


@pytest.mark.slow
def test_on_another_device_every_distillation_gives_what_it_gives_on_the_cpu(
    tmp_path: Path,
) -> None:
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    same = json.loads(done.stdout.splitlines()[-1])
    assert len(same) == 7
    assert all(same.values()), same
