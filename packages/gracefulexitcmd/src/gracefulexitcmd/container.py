"""The container of a `contain` block."""

from __future__ import annotations

from gracefulexitcmd.exit import NOTHING_TO_END
from gracefulexitcmd.system import ProcessSet

TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Self, TypeVar

    from gracefulexitcmd.exit import Exit
    from gracefulexitcmd.system import ManualContainer

    Opened = TypeVar("Opened", bound=ProcessSet | None)


class Container:
    """The container of a `contain` block, which alone makes one; commands start in it with `container=`.

    Raise TypeError when it is made directly.
    """

    exit: Exit
    """How it was emptied, with the census of the processes that had to be ended; any thread may read it.

    Before the end of the block it says that no process was ended.
    """
    _opened: ManualContainer

    def __new__(cls) -> Self:
        raise TypeError("a container is made by contain(): write `with contain() as container`")


def made(opened: ManualContainer) -> Container:
    """Return the container of a block."""
    container = object.__new__(Container)
    container._opened = opened
    container.exit = NOTHING_TO_END
    return container


def opened(container: Container | Opened) -> ManualContainer | Opened:
    """Return the object that knows the processes of a container. Raise TypeError for an object of another kind."""
    if isinstance(container, Container):
        return container._opened
    if container is not None and not isinstance(container, ProcessSet):
        raise TypeError(
            f"container is {container!r}: give the container that `with contain() as container` returns, "
            "or a ManualContainer"
        )
    return container
