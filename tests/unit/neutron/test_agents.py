from __future__ import annotations

import json
from typing import Any

from calico_openstack.neutron.agents import summary


def test_a_large_report_is_cut_to_what_fits_into_an_agents_row() -> None:
    report: dict[str, Any] = {
        "time": "t",
        "first_update": True,
        "uptime": 3.5,
        "ready": True,
        "sessions": [{"name": f"Mesh_{number}"} for number in range(500)],
        "configuration": {"hash": "x", "error": "y" * 5000},
        "problem": "z" * 5000,
        **{f"field{number}": number for number in range(50)},
    }
    answer = summary(report)

    assert answer["uptime"] == 3.5
    assert answer["ready"] is True
    assert answer["sessions"] == 500
    assert "problem" not in answer
    assert len(json.dumps(answer)) < 4095
