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


def test_a_host_without_endpoints_whose_namesake_has_some_may_be_spelled_wrong() -> None:
    census = Census()
    census.note("WorkloadEndpoint", "/w/1", True, "Compute-01.example")
    census.note("WorkloadEndpoint", "/w/2", True, "compute-02")

    assert "set FelixHostname to it" in (census.misnamed("compute-01") or "")
    assert "Compute-01.example" in (census.misnamed("compute-01") or "")
    assert census.misnamed("compute-02") is None
    assert census.misnamed("compute-03") is None
    assert census.misnamed("compute-01.other") is None
    assert census.misnamed("COMPUTE-01.EXAMPLE") is not None
    census.note("WorkloadEndpoint", "/w/3", True, "compute-01")
    assert census.misnamed("compute-01") is None
