from calico_openstack.felix.census import Census


def test_documents_are_counted_once_however_often_they_are_told() -> None:
    census = Census()
    for _ in range(2):
        census.note("Tier", "/t/a", True)
    census.note("Profile", "/p/a", True)

    assert (census.count("Tier"), census.count("Profile", "Tier"), census.count("Node")) == (1, 2, 0)

    census.note("Tier", "/t/a", False)
    census.note("Tier", "/t/never", False)
    assert census.count("Tier") == 0


def test_a_host_counts_as_long_as_an_endpoint_lives_there() -> None:
    census = Census()
    census.note("WorkloadEndpoint", "/w/1", True, "a")
    census.note("WorkloadEndpoint", "/w/2", True, "a")
    census.note("HostEndpoint", "/h/1", True, "b")
    assert census.hosts == 2

    census.note("WorkloadEndpoint", "/w/1", False, "a")
    census.note("WorkloadEndpoint", "/w/1", False, "a")
    assert census.hosts == 2

    census.note("WorkloadEndpoint", "/w/2", False, "a")
    assert census.hosts == 1
