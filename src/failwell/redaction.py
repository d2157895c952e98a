"""Blotting out what must not be written: passwords in addresses, tokens, keys, credentials in headers.

A secret is told by its form (``https://user:password@host``, ``Bearer ...``) or by its name
(``token=...``). What has neither is not known for one.
"""

from __future__ import annotations

import re
from typing import Any

__all__ = ["BLOT", "is_secret", "redacted"]

_NAMES = (
    r"(?:pass(?:word|wd|phrase)|pwd|secret|token|credentials?|signature|(?:api|access|secret|private|account)[ _-]?key)"
)
_HEADERS = r"(?:authorization|cookies?)"
_IS = r"""(?:\\*["'])?\s*[:=]\s*"""  # between a name and its value; either may be in quotes, which may be escaped
_QUOTED = r"""([bru]{0,2}(\\*["']))(?:(?!\3)(?:\\.|.))*"""  # all up to the closing quote, or to the end of the text
_MADE = r"""[\w.]*[\[({][^\])}\n]*[\])}]?[^\s&,;"']*"""  # a list, or what shows as a call
_WORD = r"""[^\s&,;"']+"""
_PART = r"""[\w-]+=(?:"[^"]*"|[^\s,"']+)"""
_PARTS = rf"""(?:[\w-]+\s+)?(?:{_PART}(?:\s*,\s*{_PART})*|[^\s,;"']+)"""  # a scheme, then its parts or one token
_CRUMB = r"""[^\s,;"'=]+(?:=(?:"[^"]*"|[^\s,;"']*))?"""
_HOW = re.IGNORECASE | re.DOTALL

# None of these tries a second time what it has once read, so a long text takes no longer than its length.
_ADDRESSES = re.compile(r"://\S*")
_SECRETS = (
    # A header, also one of a list of pairs.
    re.compile(rf"""({_HEADERS}(?:{_IS}|["']\s*,\s*(?=b?["'])))(?:{_QUOTED})""", _HOW),
    re.compile(rf"""(authorization{_IS}){_PARTS}""", _HOW),
    re.compile(rf"""(cookies?{_IS})(?:{_MADE}|{_CRUMB}(?:;\s*{_CRUMB})*)""", _HOW),
    re.compile(r"(\bbearer\s+)[\w.~+/=-]+", _HOW),
    re.compile(rf"({_NAMES}{_IS})(?:{_QUOTED}|{_MADE}|{_WORD})", _HOW),
)
_SECRET_NAME = re.compile(rf"(?:{_NAMES}|{_HEADERS})$", _HOW)
_SECRET_NAMES = re.compile(rf"(?:{_NAMES}|{_HEADERS})s?$", _HOW)
BLOT = "***"
"""What is written instead of a secret."""
_ROUNDS = 3  # what stands in one secret may look like half of another


def redacted(text: str) -> str:
    """A text without the secrets that can be told by their form.

    Args:
        text: Any text, such as an address or an error's message.
    """
    for _ in range(_ROUNDS):
        before = text
        text = _ADDRESSES.sub(_without_users, text)
        for pattern in _SECRETS:
            text = pattern.sub(_blotted, text)
        if text == before:
            break
    return text


def _blotted(found: re.Match[str]) -> str:
    """The name and the opening quote of a secret; the closing one was not taken."""
    quote = found[2] if found.re.groups > 1 else None
    return f"{found[1]}{quote or ''}{BLOT}"


def _without_users(found: re.Match[str]) -> str:
    first, *addresses = found[0].split("://")
    return "://".join([first, *map(_without_user, addresses)])


_HOST = re.compile(r"[^/?#]*")
_PASSWORD = re.compile(r"[^:/?#\[]*:(?!\d*(?:/|$))")


def _without_user(address: str) -> str:
    """An address (all behind its scheme) without user and password, also where signs in these are not escaped."""
    host: Any = _HOST.match(address)
    end = address.rfind("@", 0, host.end())
    if end < 0 and _PASSWORD.match(address):  # what follows is no port
        end = max(address.rfind("@", 0, address.find("/")) if "/" in address else address.rfind("@"), -1)
        end = end if end >= 0 else address.find("@")
    return address if end < 0 else f"{BLOT}{address[end:]}"


def is_secret(name: str, value: Any) -> bool:
    """Whether a value must not be written because of what it is called; a number of tokens may be.

    Args:
        name: What it is called.
        value: The value.
    """
    if value is None or isinstance(value, bool):
        return False
    return (_SECRET_NAME if isinstance(value, (int, float)) else _SECRET_NAMES).search(name) is not None
