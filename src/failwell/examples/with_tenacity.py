"""A client that retries with tenacity and knows nothing of Failwell, explored.

Run it: ``python -m failwell.examples.with_tenacity`` prints every path that the function can take.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from failwell.examples import unavailable

try:
    from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_exponential
except ModuleNotFoundError as missing:
    raise unavailable(missing, __name__) from None

__all__ = ["load_user", "load_user_in_time"]

Get = Callable[[str], Awaitable[object]]


@retry(
    stop=stop_after_attempt(3),
    wait=wait_exponential(multiplier=1),
    retry=retry_if_exception_type(ConnectionError),
    reraise=True,
)
async def load_user(get: Get) -> object:
    """Load a user; who calls this means to be patient, but not for ever."""
    async with asyncio.timeout(5):
        return await get("/users/7")


@retry(
    stop=stop_after_attempt(3),
    wait=wait_exponential(multiplier=1),
    retry=retry_if_exception_type((ConnectionError, TimeoutError)),
    reraise=True,
)
async def load_user_in_time(get: Get) -> object:
    """The same, for which a late answer is worth another attempt as well."""
    async with asyncio.timeout(5):
        return await get("/users/7")


if __name__ == "__main__":
    from failwell.flow import explore

    for path in explore(load_user).paths:
        print(path)
