"""`overridable`: how `RemoteJobTask` declares an attribute and its default."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

__all__ = ["overridable"]

if TYPE_CHECKING:
    # To a type checker a property may be overridden by a class attribute, a property or a Luigi parameter. An annotated
    # attribute may not be overridden by a property, and would become the only argument of __init__, because Luigi's
    # tasks are a dataclass_transform.
    from builtins import property as overridable
else:

    class overridable:  # noqa: N801 - used as a decorator, as property is
        """Returns the default, also of the class, until a class or an instance has a value of its own."""

        def __init__(self, default: Callable[[Any], Any]):
            self._default = default
            self.__doc__ = default.__doc__

        def __get__(self, task: Any, owner: type) -> Any:
            return self._default(task)
