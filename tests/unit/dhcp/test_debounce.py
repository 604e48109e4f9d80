from calico_openstack.dhcp.debounce import Debounce


def test_it_waits_for_quiet_but_not_for_ever() -> None:
    debounce = Debounce(quiet=0.05, longest=0.5)
    assert debounce.due_at() is None

    debounce.mark(10.0)
    assert debounce.due_at() == 10.05

    for step in range(1, 20):
        debounce.mark(10.0 + step * 0.04)
    assert debounce.due_at() == 10.5

    debounce.done()
    assert debounce.due_at() is None
