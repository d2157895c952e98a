"""Router: of several operations that do the same job, call the one that fits this call.

Use when calls differ in what they need: a short question goes to the small model, a customer's data to
the region that holds it. Do not use to get away from what has failed, which is what a fallback is for,
or where one operation would do for all calls.

Source: Gregor Hohpe and Bobby Woolf, "Enterprise Integration Patterns", ch. 7 (Content-Based Router).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, cast

from failwell.derive import Call
from failwell.errors import UnknownRouteError
from failwell.events import Routed
from failwell.policy import Operation, is_async, optional_text
from failwell.runtime import Runtime, name_of

__all__ = ["Router"]


class Router(Operation):
    """Call the operation that ``select`` names.

    It is an operation, not a wrapper: ``router(prompt)`` calls it, and ``stack >> router`` protects it.

    Args:
        routes: Name -> operation. Each may be async or plain, and protected by policies of its own.
        select: Gets the call's arguments and returns the name of a route. What it raises is raised.
        default: The name of the route for calls for which ``select`` returns no known name (default: none,
            they are refused).
        name: What the router is called in events and drawings.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If there are no routes, or ``default`` is none of them.
        UnknownRouteError: On a call, if ``select`` returns no known name and there is no default.
    """

    def __init__(
        self,
        routes: Mapping[str, Callable[..., Any]],
        select: Callable[..., object],
        default: str | None = None,
        name: str | None = None,
    ) -> None:
        if not isinstance(cast("Any", routes), Mapping):
            raise TypeError(f"routes must map names to operations, got {routes!r}")
        if not routes:
            raise ValueError(f"routes must have at least one route, got {routes!r}")
        for route, operation in routes.items():
            if not isinstance(cast("Any", route), str):
                raise TypeError(f"a route's name must be a text, got {route!r}")
            if not callable(operation):
                raise TypeError(f"route {route!r} must be callable, got {operation!r}")
        if not callable(select):
            raise TypeError(f"select must be callable, got {select!r}")
        if default is not None and default not in tuple(routes):
            raise ValueError(f"default must be one of the routes {', '.join(routes)}, got {default!r}")
        optional_text(name=name)
        self.routes = dict(routes)
        self.select = select
        self.default = default
        self.name = name
        self._names: tuple[Any, ...] = tuple(routes)  # what select really returns is up to it
        self._known = {route: (operation, _told_apart(route, routes)) for route, operation in routes.items()}
        self._is_async = any(map(is_async, (select, *routes.values())))

    async def run(self, call: Call, rt: Runtime) -> Any:
        select = functools.partial(self.select, **call.kwargs) if call.kwargs else self.select
        chosen = await rt.decide("route", self._names, select, *call.args)
        route = chosen if isinstance(chosen, str) and chosen in self._known else self.default
        if route is None:
            raise UnknownRouteError(rt.operation, chosen, self._names)
        rt.emit(Routed, route)
        operation, name = self._known[route]
        return await rt.invoke(operation, call.args, call.kwargs, name)

    @property
    def is_async(self) -> bool:
        """Whether ``select`` or any route is async."""
        return self._is_async

    @property
    def label(self) -> str:
        return self.name or super().label

    @property
    def __name__(self) -> str:
        return self.name or super().__name__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the route that fits.

        Args:
            *args: What ``select`` and the route are called with.
            **kwargs: What ``select`` and the route are called with.

        Returns:
            What the route returned; if ``select`` or any route is async a coroutine that gives it.
        """
        return self._bound(*args, **kwargs)


def _told_apart(route: str, routes: Mapping[str, Callable[..., Any]]) -> str:
    """The name of a route's operation, or of the route where several operations have one name, as partials do."""
    name = name_of(routes[route])
    return name if [*map(name_of, routes.values())].count(name) == 1 else route
