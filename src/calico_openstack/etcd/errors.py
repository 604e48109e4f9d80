"""What can go wrong with etcd, as few types as a caller can act on.

| Type | What the caller does |
|---|---|
| `Unavailable` | nothing is wrong with the request: remember it, try later |
| `Unauthenticated`, `PermissionDenied` | the operator must mend user, password, certificate or role |
| `Compacted` | the history is gone: list anew |
| `LeaseGone` | the lease ran out: take a new one |
| `Rejected` | the request itself is at fault, or the store is full: the text says which |

Every text names the endpoint and the key or prefix. `from_fault` maps gRPC status codes and etcd's own texts
(etcd `api/v3rpc/rpctypes/error.go`) to these types.
"""

from __future__ import annotations


class EtcdError(Exception):
    """Something etcd did not do. `endpoint` and `about` (a key, a prefix, a lease) are also part of the text."""

    def __init__(self, reason: str, endpoint: str = "", about: str = "") -> None:
        self.reason = reason
        self.endpoint = endpoint
        self.about = about
        where = f" (etcd at {endpoint})" if endpoint else ""
        super().__init__(f"{about}: {reason}{where}" if about else f"{reason}{where}")


class Unavailable(EtcdError):
    """No endpoint answered in time. A write may or may not have happened."""


class Unauthenticated(EtcdError):
    """etcd does not accept the user, the password or the token, also after signing in anew."""


class PermissionDenied(EtcdError):
    """The user is known but has no right to the key."""


class Rejected(EtcdError):
    """etcd refuses the request, and would refuse it again."""


class LeaseGone(EtcdError):
    """The lease has expired or was revoked; its keys are gone too."""


class Compacted(EtcdError):
    """The wanted revision is no longer (or, after a restored backup, not yet) in the store's history.

    `revision` is the oldest one still there, or 0 if etcd did not say. `rewound` is set when the store's revision is
    lower than what was already seen: then known revisions mean nothing any more.
    """

    def __init__(
        self, revision: int, endpoint: str = "", about: str = "", reason: str = "", rewound: bool = False
    ) -> None:
        self.revision = revision
        self.rewound = rewound
        super().__init__(reason or "the requested revision has been compacted", endpoint, about)


# Codes that say "this endpoint, now" rather than "this request". CANCELLED, INTERNAL and UNKNOWN are how gRPC
# reports a connection that broke in the middle of a call.
_TRANSIENT = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "INTERNAL", "UNKNOWN", "ABORTED"})

# etcd's own refusals arrive as UNKNOWN, INVALID_ARGUMENT or FAILED_PRECONDITION, depending on the release.
_TOKEN_TEXTS = ("invalid auth token", "revision of auth store is old", "user name is empty")
_SIGN_IN_TEXTS = ("authentication failed",)
_CURES = {
    "database space exceeded": "compact and defragment etcd, then disarm the NOSPACE alarm",
    "request is too large": "the value is larger than etcd's --max-request-bytes",
    "too many operations": "more than --max-txn-ops operations in one transaction",
}


def token_refused(code: str, details: str) -> bool:
    """Whether signing in anew may help: the token expired, or the server that made it was restarted."""
    return code == "UNAUTHENTICATED" or any(text in details for text in _TOKEN_TEXTS)


def authentication_off(details: str) -> bool:
    """Whether the server does no user authentication at all, so that no token is needed."""
    return "authentication is not enabled" in details


def from_fault(code: str, details: str, endpoint: str, about: str) -> EtcdError:
    """The error for a gRPC status (`code` by name) with etcd's text in `details`."""
    if "required revision has been compacted" in details or "required revision is a future revision" in details:
        return Compacted(0, endpoint, about, rewound="future" in details)
    if "lease not found" in details:
        return LeaseGone("the lease is gone", endpoint, about)
    if "permission denied" in details or code == "PERMISSION_DENIED":
        return PermissionDenied("permission denied; grant the user's role access to the key", endpoint, about)
    if token_refused(code, details) or any(text in details for text in _SIGN_IN_TEXTS):
        return Unauthenticated(f"not accepted: {details}; check user and password", endpoint, about)
    for text, cure in _CURES.items():
        if text in details:
            return Rejected(f"{details}: {cure}", endpoint, about)
    if code == "RESOURCE_EXHAUSTED" and "too many requests" in details:
        return Unavailable(details, endpoint, about)
    if code in _TRANSIENT:
        return Unavailable(details or code, endpoint, about)
    return Rejected(f"{details or 'refused'} [{code}]", endpoint, about)
