"""Names that a package offers and that are imported when they are first used."""

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module

from chatroom_lib.runtime.platform import IN_A_BROWSER, Absent


def lazy_names(
    package: str, homes: Mapping[str, Iterable[str]], in_docstring: bool = False
) -> tuple[Callable, Callable, list[str]]:
    """`__getattr__`, `__dir__` and `__all__` for a package, from its modules and the names each of them holds.

    A module without names is offered itself, by the last part of its own. `in_docstring`: the package's docstring lists
    the names, so that `help(package)` need not describe each.
    """
    home_of = {name: module for module, names in homes.items() for name in names or (module.rpartition(".")[2],)}
    offered = sorted(home_of)

    def get(name: str):
        if name not in home_of:
            raise AttributeError(f"{package} has no {name!r}; it has {', '.join(offered)}", name=name, obj=package)
        try:
            module = import_module(f"{package}.{home_of[name]}")
        except ModuleNotFoundError as error:
            if IN_A_BROWSER:
                return Absent(name, error.name)
            raise
        return getattr(module, name) if homes[home_of[name]] else module

    return get, lambda: offered, ListedNames(offered) if in_docstring else offered


class ListedNames(list):
    """An `__all__` that `import *` finds as ever, while pydoc documents none of the names."""

    def __contains__(self, name: object) -> bool:
        return False  # pydoc asks this about each name; `import *` takes them by index
