from pathlib import Path

from calico_openstack.dhcp import known
from calico_openstack.dhcp.files import closed_ancestor, open_directory, write_if_different
from calico_openstack.etcd.values import Event


def test_a_file_is_written_only_if_it_differs(tmp_path: Path) -> None:
    path = tmp_path / "hosts"

    assert write_if_different(path, "a\n") is True
    before = path.stat().st_ino
    assert write_if_different(path, "a\n") is False
    assert path.stat().st_ino == before
    assert write_if_different(path, "b\n") is True

    assert path.read_text() == "b\n"
    assert path.stat().st_mode & 0o777 == 0o644
    assert [one.name for one in tmp_path.iterdir()] == ["hosts"]


def test_a_closed_directory_on_the_way_is_found(tmp_path: Path) -> None:
    inner = tmp_path / "closed" / "inner"
    open_directory(inner)
    (tmp_path / "closed").chmod(0o700)
    tmp_path.chmod(0o755)

    found = closed_ancestor(inner)

    assert found is not None
    # pytest's own base directory may be closed too, and then comes first
    assert found == tmp_path / "closed" or found in tmp_path.parents


def test_known_documents_come_back_as_events(tmp_path: Path) -> None:
    path = tmp_path / "known.json"

    known.save(path, {"/a": b"{}", "/b": b'{"x":1}'})

    assert known.load(path) == [Event("/a", b"{}", 0), Event("/b", b'{"x":1}', 0)]
    assert path.stat().st_mode & 0o777 == 0o600


def test_no_file_or_a_broken_one_is_no_news(tmp_path: Path) -> None:
    (tmp_path / "broken").write_text("{nonsense")

    assert known.load(tmp_path / "absent") == []
    assert known.load(tmp_path / "broken") == []
