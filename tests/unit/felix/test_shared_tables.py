"""Tables of the kernel that guests share: how full they are, and who is told."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from calico_openstack.felix.kernel.shared_tables import PAUSE, Crowding, SharedTable, read_shared_tables


def written(root: Path, neighbours: int, overflows: int = 0, flows: int = 10) -> Path:
    for family, name in (("ipv4", "arp"), ("ipv6", "ndisc")):
        (root / f"sys/net/{family}/neigh/default").mkdir(parents=True, exist_ok=True)
        (root / f"sys/net/{family}/neigh/default/gc_thresh3").write_text("1024\n")
        (root / "self/net/stat").mkdir(parents=True, exist_ok=True)
        (root / f"self/net/stat/{name}_cache").write_text(
            "entries  allocs table_fulls\n"
            f"{neighbours:08x} 00000001 {overflows:08x}\n"
            f"{neighbours:08x} 0000000a 00000000\n"
        )
    (root / "sys/net/netfilter").mkdir(parents=True, exist_ok=True)
    (root / "sys/net/netfilter/nf_conntrack_count").write_text(f"{flows}\n")
    (root / "sys/net/netfilter/nf_conntrack_max").write_text("262144\n")
    return root


def test_size_limit_and_overflows_are_read(tmp_path: Path) -> None:
    assert read_shared_tables(written(tmp_path, 300, 7)) == {
        "arp": SharedTable(300, 1024, 7),
        "ndisc": SharedTable(300, 1024, 7),
        "conntrack": SharedTable(10, 262144),
    }


def test_what_the_kernel_does_not_tell_is_left_out(tmp_path: Path) -> None:
    assert read_shared_tables(tmp_path) == {}


def test_this_machines_own_files_are_understood() -> None:
    if not Path("/proc/sys/net/ipv4/neigh/default/gc_thresh3").exists():
        pytest.skip("only the machine's own network namespace shows its limits")
    assert read_shared_tables()["arp"].limit > 0


def test_it_is_told_once_when_a_table_is_nearly_full_and_when_it_has_room_again(tmp_path: Path) -> None:
    crowding, now, told = Crowding(tmp_path), 100.0, []
    for neighbours, overflows in ((500, 0), (900, 0), (950, 0), (800, 0), (100, 0), (100, 3), (100, 3)):
        written(tmp_path, neighbours, overflows)
        with capture_logs() as lines:
            crowding.step(now)
            crowding.step(now)
        told.append([line["event"] for line in lines if line["table"] == "ndisc"])
        now += PAUSE

    full, room = ["kernel.table_nearly_full"], ["kernel.table_has_room"]
    assert told == [[], full, [], [], room, full, room]
    assert crowding.tables["conntrack"] == SharedTable(10, 262144)
