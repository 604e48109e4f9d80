from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from calico_openstack.bgp import secrets, swap
from calico_openstack.model.bgp import SecretRef

GOOD = "router id 192.0.2.1;\nprotocol device {}\n"


def files(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_good_text_gets_into_place_and_others_cannot_read_it(tmp_path: Path, bird_reads: Any) -> None:
    path = tmp_path / "etc" / "bird.conf"

    asyncio.run(swap.put(path, GOOD, binary="/usr/sbin/bird"))

    assert swap.read(path) == GOOD
    assert path.stat().st_mode & 0o777 in (0o600, 0o640)
    assert files(path.parent) == ["bird.conf"]


def test_a_text_that_bird_refuses_changes_nothing(tmp_path: Path, bird_reads: Any) -> None:
    path = tmp_path / "bird.conf"
    path.write_text(GOOD)

    with pytest.raises(swap.CheckFailed, match=r"bird\.conf:2:"):
        asyncio.run(swap.put(path, "router id 192.0.2.1;\nprotocol nonsense {}\n", binary="/usr/sbin/bird"))

    assert path.read_text() == GOOD
    assert files(tmp_path) == ["bird.conf"]


def test_a_missing_program_and_one_that_hangs_count_as_refusals(tmp_path: Path) -> None:
    hanging = tmp_path / "hangs"
    hanging.write_text("#!/bin/sh\nexec sleep 60\n")
    hanging.chmod(0o755)

    with pytest.raises(swap.CheckFailed, match="install BIRD"):
        asyncio.run(swap.check(tmp_path / "x", binary=str(tmp_path / "absent")))
    with pytest.raises(swap.CheckFailed, match="longer than"):
        asyncio.run(swap.check(tmp_path / "x", binary=str(hanging), timeout=0.2))


def test_a_file_of_somebody_elses_is_kept_once(tmp_path: Path) -> None:
    path = tmp_path / "bird.conf"
    assert swap.keep_foreign(path, "# ours") is None
    path.write_text("# ours\n")
    assert swap.keep_foreign(path, "# ours") is None
    path.write_text("by hand")

    assert swap.keep_foreign(path, "# ours") == tmp_path / "bird.conf.before-calico"
    path.write_text("by hand, later")
    assert swap.keep_foreign(path, "# ours") is None
    assert (tmp_path / "bird.conf.before-calico").read_text() == "by hand"


def test_what_a_killed_agent_left_is_removed(tmp_path: Path) -> None:
    for name in (".bird.conf.abcdefgh", "bird.conf", ".other"):
        (tmp_path / name).touch()

    swap.remove_leftovers(tmp_path / "bird.conf")

    assert files(tmp_path) == [".other", "bird.conf"]


def test_passwords_are_read_from_files_and_missing_ones_are_missing(tmp_path: Path, cluster_of: Any) -> None:
    (tmp_path / "bgp").mkdir()
    (tmp_path / "bgp" / "tor").write_text("correct horse\n")
    reference = {"secretKeyRef": {"name": "bgp", "key": "tor"}}
    cluster = cluster_of(
        {
            "BGPPeer/a": {"spec": {"peerIP": "192.0.2.9", "password": reference}},
            "BGPConfiguration/default": {
                "spec": {"nodeMeshPassword": json.loads(json.dumps(reference).replace("tor", "mesh"))}
            },
        }
    )

    wanted = secrets.references(cluster)

    assert wanted == {SecretRef("bgp", "tor"), SecretRef("bgp", "mesh")}
    assert secrets.read(tmp_path, wanted) == {SecretRef("bgp", "tor"): "correct horse"}
