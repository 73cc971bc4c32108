"""Names that a package offers and that are imported when they are first used."""

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module


def lazy_names(package: str, homes: Mapping[str, Iterable[str]]) -> tuple[Callable, Callable, list[str]]:
    """`__getattr__`, `__dir__` and `__all__` for a package, from its modules and the names each of them holds.

    A module without names is offered itself, by the last part of its own.
    """
    home_of = {name: module for module, names in homes.items() for name in names or (module.rpartition(".")[2],)}
    offered = sorted(home_of)

    def get(name: str):
        if name not in home_of:
            raise AttributeError(f"{package} has no {name!r}; it has {', '.join(offered)}", name=name, obj=package)
        module = import_module(f"{package}.{home_of[name]}")
        return getattr(module, name) if homes[home_of[name]] else module

    return get, lambda: offered, offered


class ListedNames(list):
    """`__all__` for a package whose docstring lists its names: then `help(package)` is that docstring, and not also the
    documentation of every name. `import *` finds them as ever.
    """

    def __contains__(self, name: object) -> bool:
        return False  # pydoc asks this before it documents a name; `import *` takes them by index
