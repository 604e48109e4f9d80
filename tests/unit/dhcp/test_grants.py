from calico_openstack.dhcp.grants import Grant, Ledger, owners4, owners6


def test_an_ipv4_address_belongs_to_a_mac_and_an_ipv6_address_to_a_life_of_a_tap() -> None:
    grants = [Grant("10.65.0.11", "fa:16:3e:00:00:01", "tapa")]

    assert owners4(grants) == {"10.65.0.11": "fa:16:3e:00:00:01"}
    assert owners6(grants, {"tapa": 7}) == {"10.65.0.11": "fa:16:3e:00:00:01@7"}
    assert owners6(grants, {}) == {}


def test_an_address_that_was_gone_in_between_still_has_its_old_owner() -> None:
    ledger = Ledger()
    ledger.note({"10.65.0.11": "a"})
    ledger.note({})

    assert ledger.moved({"10.65.0.11": "b", "10.65.0.12": "b"}) == ["10.65.0.11"]
    assert ledger.moved({"10.65.0.11": "a"}) == []


def test_noting_what_is_known_is_no_news() -> None:
    ledger = Ledger()

    assert ledger.note({"10.65.0.11": "a"}) is True
    assert ledger.note({"10.65.0.11": "a"}) is False
    assert ledger.note({}) is False
