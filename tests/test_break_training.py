"""Full disks, lost folders and their like: a short form of tests/stress/break_training.py."""

import subprocess
import sys
from pathlib import Path

import pytest
from training import ONE_THREAD

SCRIPT = Path(__file__).parent / "stress/break_training.py"


@pytest.mark.slow
def test_one_run_survives_every_fault_to_the_same_bits() -> None:
    result = subprocess.run(
        [sys.executable, str(SCRIPT), "--short"],
        env=ONE_THREAD,
        capture_output=True,
        text=True,
        timeout=600,
    )
    if result.returncode == 2:
        pytest.skip(result.stderr.strip())
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
    rows = result.stdout.splitlines()[1:-1]
    assert len(rows) == 8
    assert all(row[30:].split()[:2] == ["1", "1"] for row in rows), result.stdout
