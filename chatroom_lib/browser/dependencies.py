"""Which cells of a chapter another one needs, by the names that they make and use, and which need more than Python."""

import ast
import symtable
from collections.abc import Collection, Iterator
from typing import Literal, NamedTuple

# Names of what opens sockets, starts processes or threads, or shows widgets.
OF_A_KERNEL = {
    *("ChatPanel", "Server", "bench", "chat", "check_server", "connect", "dashboard", "nest_asyncio"),
    *("open_connection", "run_here", "running_server", "serve", "socket", "start_server", "stop_all", "subprocess"),
    *("threading", "websocket"),
}

MODULES_OF_A_KERNEL = "chatroom_lib.bench."  # those of it that measure

Needs = Literal["", "live", "kernel"]  # nothing but Python; `live`, which can be simulated; a kernel


CHANGING = {"add", "append", "clear", "discard", "extend", "insert", "pop", "remove", "setdefault", "sort", "update"}


class Names(NamedTuple):
    """The names that a cell makes, or whose things it changes, and those it uses that were made before it."""

    made: set[str]
    used: set[str]


def names_in(code: str) -> Names:
    """Those of a cell; none of what is no Python."""
    made, used = set(), set()
    try:
        statements = ast.parse(code).body
    except SyntaxError:
        return Names(made, used)
    for statement in statements:
        table = table_of(statement)
        makes = {each.get_name() for each in table.get_symbols() if each.is_assigned() or each.is_imported()}
        uses = set(references(table, makes))
        if isinstance(statement, ast.With | ast.AsyncWith | ast.For | ast.AsyncFor | ast.Try | ast.If | ast.While):
            uses -= makes  # which come first in it
        used |= uses - made
        made |= makes | set(changed(statement)) & uses
    return Names(made, used)


def changed(node: ast.AST) -> Iterator[str]:
    """Names of things that are changed where they are: `x[0] = 1`, `x.y = 1`, `x.append(1)`. Not when a function is
    called."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
        return
    is_target = isinstance(node, ast.Subscript | ast.Attribute) and not isinstance(node.ctx, ast.Load)
    if is_target or isinstance(node, ast.Attribute) and node.attr in CHANGING:
        thing = node.value
        while isinstance(thing, ast.Subscript | ast.Attribute):
            thing = thing.value
        if isinstance(thing, ast.Name):
            yield thing.id
    for inner in ast.iter_child_nodes(node):
        yield from changed(inner)


def table_of(statement: ast.stmt) -> symtable.SymbolTable:
    """Its symbols, in a coroutine, where `await` may stand."""
    wrapped = ast.parse("async def cell():\n pass")
    wrapped.body[0].body = [NamesOfTheirOwn().visit(statement)]
    tables = symtable.symtable(ast.unparse(wrapped), "cell", "exec").get_children()
    return next(table for table in tables if isinstance(table, symtable.Function) and table.get_name() == "cell")


class NamesOfTheirOwn(ast.NodeTransformer):
    """Comprehensions as generators: from Python 3.12 on, the names in a comprehension are among those around it."""

    def visit_ListComp(self, node: ast.ListComp | ast.SetComp) -> ast.AST:
        return self.generic_visit(ast.GeneratorExp(node.elt, node.generators))

    visit_SetComp = visit_ListComp

    def visit_DictComp(self, node: ast.DictComp) -> ast.AST:
        return self.generic_visit(ast.GeneratorExp(ast.Tuple([node.key, node.value], ast.Load()), node.generators))


def references(table: symtable.SymbolTable, own: set[str]) -> Iterator[str]:
    for symbol in table.get_symbols():
        if symbol.is_referenced() and (symbol.is_global() or symbol.get_name() in own):
            yield symbol.get_name()
    for inner in table.get_children():
        yield from references(inner, set())


def makers(cells: list[Names], index: int) -> dict[str, int]:
    """Name -> the last cell above this one that makes it, for each name that this one uses."""
    above = {name: place for place, cell in enumerate(cells[:index]) for name in cell.made}
    return {name: above[name] for name in cells[index].used if name in above}


def what_they_need(codes: list[str], of_a_kernel: Collection[int] = ()) -> list[Needs]:
    """For each cell of a chapter: whether it, or one whose names it uses, needs a kernel, or runs `live`.

    `of_a_kernel`: the places of those that need one, though none of their names tells.
    """
    cells = [names_in(code) for code in codes]
    found: list[Needs] = []
    for index, (code, cell) in enumerate(zip(codes, cells)):
        above = {found[maker] for maker in makers(cells, index).values()}
        tells = cell.used & OF_A_KERNEL or f"from {MODULES_OF_A_KERNEL}" in code
        if tells or index in of_a_kernel or "kernel" in above:
            found.append("kernel")
        else:
            found.append("live" if "live" in above or "live" in cell.used else "")
    return found
