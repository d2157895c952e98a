"""What is known about credential refresh."""

from __future__ import annotations

from failwell import Credential, CredentialRefresh
from failwell.catalog.card import Card

__all__ = ["CARD"]


def fetch_token() -> str:
    """What the example refreshes with; never executed."""
    raise NotImplementedError


CARD = Card(
    slug="credential_refresh",
    name="Credential refresh",
    group="Try again",
    intent="Get a new token before the old one expires, and when it was refused; once, however many callers need it.",
    also_known_as=("token refresh", "token renewal", "credential rotation", "session renewal"),
    use_when=(
        "calls need a token that expires, such as one of OAuth or a lease of a secret store",
        "credentials are rotated or revoked while the program runs",
        "many callers share one token",
    ),
    avoid_when=(
        "the password is wrong: a new token is refused in the same way",
        "the permission is missing (403): that is no matter of the token",
        "a person has to log in again: raise, and let the caller ask",
    ),
    error_types=("AuthenticationError",),
    effort="low",
    related=("retry", "timeout", "cache"),
    symptoms=(
        "401",
        "unauthorized",
        "token expired",
        "invalid token",
        "logged out",
        "session expired",
        "expired lease",
        "refresh token reused",
    ),
    module="failwell.patterns.credential_refresh",
    sources=(
        "RFC 6749, The OAuth 2.0 Authorization Framework (https://www.rfc-editor.org/rfc/rfc6749#section-1.5)",
        "RFC 6750, Bearer Token Usage (https://www.rfc-editor.org/rfc/rfc6750#section-3)",
    ),
    operation="call_api",
    outcomes=("ok", "fail"),
    make=lambda: CredentialRefresh(Credential(fetch_token, lifetime=3600)),
)
