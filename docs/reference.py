"""The parts of the book's reference that are read from the code, so that what is new there appears by itself.

`{{ guarantees }}` and its like in a page stand for a list; the fields of a class follow its docstring, each with the
comment behind it.
"""

import ast
import inspect
import re
from collections.abc import Callable, Container
from importlib import import_module
from pathlib import Path
from pkgutil import resolve_name

from chatroom_lib.checker.guarantees import GUARANTEES
from chatroom_lib.checker.scenarios import SCENARIOS
from chatroom_lib.rooms import VERSIONS
from chatroom_lib.trace import KINDS

ROOT = Path(__file__).resolve().parent.parent


# ---------------------------------------------------------------- lists, in Markdown


def guarantees() -> str:
    return "\n\n".join(f"#### {name}\n\n{inspect.getdoc(promise)}" for name, promise in GUARANTEES.items())


def scenarios() -> str:
    return "\n\n".join(f"#### {name}\n\n{inspect.getdoc(maker)}" for name, maker in SCENARIOS.items())


def versions() -> str:
    rows = [f"| [{name}]({source(room)}) | {idea(room)} |" for name, room in VERSIONS.items()]
    return "\n".join(["| version | its idea |", "|---|---|", *rows])


def idea(room: type) -> str:
    """The first line of the docstring of a version's file, "v3: a hub.", without the version."""
    return inspect.getmodule(room).__doc__.partition("\n")[0].partition(": ")[2]


def kinds() -> str:
    rows = [f"| {kind} | {meaning} |" for kind, meaning in KINDS.items()]
    return "\n".join(["| kind | what has happened to a client |", "|---|---|", *rows])


def constants(package: str, module: str, *names: str) -> str:
    """Names that `package` offers and `module` in it binds, each with its value and the comment behind it."""
    code = inspect.getsource(import_module(f"{package}.{module}"))
    described = entries("data", ast.parse(code).body, code, names.__contains__)
    return "\n\n".join(["```{eval-rst}", f".. py:currentmodule:: {package}", *described, "```"])


LISTS = {function.__name__: function for function in (guarantees, scenarios, versions, kinds, constants)}


def fill_in(text: str) -> str:
    """A page with a list in the place of each `{{ name and arguments }}`."""
    return re.sub(r"^\{\{ (\w+)(.*) \}\}$", lambda found: LISTS[found[1]](*found[2].split()), text, flags=re.MULTILINE)


# ---------------------------------------------------------------- fields, in reStructuredText


def fields(class_source: str, left_out: Container[str] = ()) -> list[str]:
    """A description of each field of a class."""
    body = ast.parse(class_source).body[0].body
    return entries("attribute", body, class_source, lambda name: name not in left_out)


def entries(kind: str, body: list[ast.stmt], code: str, wanted: Callable[[str], bool]) -> list[str]:
    """A description of each name that `body`, a part of `code`, binds."""
    lines = code.splitlines()
    bound = [(name, node) for node in body if (name := target(node)) and wanted(name)]
    return [entry(kind, name, node, lines[node.end_lineno - 1][node.end_col_offset :]) for name, node in bound]


def target(node: ast.stmt) -> str | None:
    """The one name that a statement binds."""
    targets = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
    return targets[0].id if len(targets) == 1 and isinstance(targets[0], ast.Name) else None


def entry(kind: str, name: str, node: ast.Assign | ast.AnnAssign, behind: str) -> str:
    lines = [f".. py:{kind}:: {name}"]
    if isinstance(node, ast.AnnAssign):
        lines.append(f"   :type: {ast.unparse(node.annotation)}")
    value = ast.unparse(node.value) if node.value else ""
    if value and len(value) < 40 and not value.startswith("field("):
        lines.append(f"   :value: {value}")
    return "\n".join([*lines, "", f"   {plain(behind.partition('#')[2].strip())}", ""])


def plain(text: str) -> str:
    """Text as Sphinx is to read it: `code` stays code, and no other sign means anything."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else re.sub(r"([*|\\]|_\b)", r"\\\1", part) for part in parts)


# ---------------------------------------------------------------- what Sphinx asks


def describe(_app, kind: str, _name: str, thing, options, lines: list[str]) -> None:
    """A docstring as it is read here; that of a class with fields ends with them."""
    lines[:] = plain("\n".join(lines)).splitlines()
    if kind == "class" and has_fields(thing):
        described = fields(inspect.getsource(thing), left_out=options.exclude_members or ())
        lines += ["", *"\n".join(described).splitlines()]


def shorten(_app, kind: str, _name: str, thing, _options, _signature, _result) -> tuple[str, str] | None:
    """A class with fields needs no signature that says them all once more."""
    return ("", "") if kind == "class" and has_fields(thing) else None


def has_fields(thing: object) -> bool:
    return hasattr(thing, "__dataclass_fields__") or hasattr(thing, "_fields")


def leave_out(_app, _kind: str, _name: str, thing, _skip: bool, _options) -> bool | None:
    """Fields of a named tuple are described already."""
    return True if type(thing).__name__ == "_tuplegetter" else None


def linkcode_resolve(_domain: str, info: dict[str, str]) -> str | None:
    """From a page in docs/ to that of the file where something is defined."""
    try:
        thing = resolve_name(f"{info['module']}.{info['fullname']}")
    except AttributeError:  # a field
        return None
    return source(getattr(thing, "fget", None) or thing, "html")


def source(thing: object, suffix: str = "py") -> str | None:
    try:
        file = Path(inspect.getsourcefile(inspect.unwrap(thing)))
    except TypeError:  # a value, not a class or a function
        return None
    return f"../{file.resolve().relative_to(ROOT).with_suffix('.' + suffix)}" if file.is_relative_to(ROOT) else None
