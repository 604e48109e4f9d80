"""Every benchmark works, in small, and finds what it promises to find: nothing lost, nothing leaked, nothing left over.

No time is asserted: a shared machine makes any limit wrong.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.root

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def small(name: str) -> str:
    """What the benchmark prints; it ends with code 0."""
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), "--small"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("name", ["start", "one_endpoint", "one_member", "status", "packet_cost"])
def test_a_benchmark_prints_ratios_to_its_baseline(name: str) -> None:
    lines = small(name).splitlines()

    assert any("(baseline)" in line and "x1.00" in line for line in lines)
    assert sum(" x" in line for line in lines) >= 3


def test_policy_swaps_under_load_lose_and_leak_nothing() -> None:
    found = re.match(r"50 swaps, (\d+) datagrams: 0 lost, 0 leaked\n", small("policy_swaps"))

    assert found is not None
    assert int(found[1]) > 1000


def test_when_all_local_endpoints_go_no_chain_is_left() -> None:
    found = re.search(r"chains left: (\d+); without any endpoint: (\d+)", small("network_sets"))

    assert found is not None
    assert found[1] == found[2]
