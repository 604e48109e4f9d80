"""What could not be served, and why: a value, because one bad port must not cost its neighbours their leases."""

from __future__ import annotations

from typing import NamedTuple


class Problem(NamedTuple):
    """`subject` names the object as the operator knows it ("port <id>", "subnet <id>"), `cure` says what to do."""

    subject: str
    reason: str
    cure: str

    def __str__(self) -> str:
        return f"{self.subject}: {self.reason}; {self.cure}"
