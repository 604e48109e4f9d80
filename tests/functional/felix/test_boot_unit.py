"""When calico-boot.service may shut the taps: at boot, and never on a host whose guests somebody serves already."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.root

UNIT = Path(__file__).parents[3] / "packaging" / "systemd" / "calico-boot.service"


def starts() -> bool:
    """Whether all conditions of the unit hold, as systemd would run them."""
    conditions = re.findall(r"^ExecCondition=/bin/sh -c '(.*)'$", UNIT.read_text(), re.MULTILINE)
    assert len(conditions) == 3
    return all(
        subprocess.run(["/bin/sh", "-c", one.replace("$$", "$")], capture_output=True).returncode == 0
        for one in conditions
    )


@pytest.mark.parametrize(
    ("served", "by"),
    [
        (False, []),
        (False, ["nft add table inet mine", "nft add chain inet mine calico-x", "nft add table inet calico-ended"]),
        (False, ["iptables-nft -N MINE", "iptables-legacy -N MINE"]),
        (True, ["nft add table inet calico"]),
        (True, ["nft add table ip calico"]),
        (True, ["iptables-nft -N cali-FORWARD"]),
        (True, ["iptables-legacy -N cali-FORWARD"]),
    ],
    ids=lambda value: "-".join(value).replace(" ", "_") if isinstance(value, list) else str(value),
)
def test_taps_are_shut_at_boot_unless_somebody_serves_guests(namespace: None, served: bool, by: list[str]) -> None:
    for command in by:
        subprocess.run(command.split(), check=True)

    assert starts() is not served
