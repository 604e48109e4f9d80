from __future__ import annotations

import json
from typing import Any

import pytest

from calico_openstack.model.keys import BgpStatusKey, DhcpStatusKey, HostStatusKey
from calico_openstack.neutron.translate.agent_rows import agent_row


def test_a_felix_report_is_upstreams_row() -> None:
    row = agent_row(HostStatusKey(None, "h"), b'{"time": "t", "uptime": 30.25, "first_update": false}')

    assert row == {
        "agent_type": "Calico per-host agent (felix)",
        "binary": "calico-felix",
        "host": "h",
        "topic": "N/A",
        "configurations": {"uptime": 30.25},
    }
    assert agent_row(DhcpStatusKey(None, "h"), b'{"first_update": true}')["start_flag"] is True


def test_a_large_report_is_cut_to_what_fits_into_the_row() -> None:
    report: dict[str, Any] = {
        "uptime": 3.5,
        "ready": True,
        "sessions": [{"name": f"Mesh_{number}"} for number in range(500)],
        "configuration": {"hash": "x", "error": "y" * 5000},
        "problem": "z" * 5000,
        **{f"field{number}": number for number in range(50)},
    }
    row = agent_row(BgpStatusKey(None, "h"), json.dumps(report).encode())

    assert row["configurations"]["sessions"] == 500
    assert "problem" not in row["configurations"]
    assert len(json.dumps(row["configurations"])) < 4095


@pytest.mark.parametrize("value", [b"rubbish", b"[1]", b""])
def test_a_bad_report_is_named_by_agent_and_host(value: bytes) -> None:
    with pytest.raises(ValueError, match="Calico BGP agent on h"):
        agent_row(BgpStatusKey(None, "h"), value)
