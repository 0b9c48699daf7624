"""The plan of the house: a file imports only from floors below it, and never in a circle.

Imports for type checking and imports within functions count like any other.
"""

FLOORS: dict[str, float] = {
    # words: no I/O
    "spica.types": 0,
    "spica.exceptions": 0,
    "spica.status": 0,
    "spica.config": 0,
    "spica._muting": 0,
    "spica._lazy": 0,  # names that are imported on first use
    "spica._originals": 0,  # which methods nobody has overridden
    "spica._http.closecodes": 0,  # what an exception may carry
    "spica._diagnostics.call_site": 0,  # the user's line, for every error and warning
    "spica._diagnostics.foreign_names": 0,  # strings alone, for the errors of any class
    # grammar and rules: text in, values out
    "spica._http": 1,
    # values and tools
    "spica._workers": 2,
    "spica.concurrency": 2,
    "spica.jsoncodec": 2,
    "spica.datastructures": 2,
    # plumbing all layers share
    "spica._asgi": 3,
    # the home of "nothing assumed": call sites, arguments, the order of middleware
    "spica._diagnostics": 3,
    "spica.shutdown": 3.5,  # what streams and the lifespan share
    "spica.signing": 3,
    "spica.caching": 5,
    # messages
    "spica.tasks": 3.5,
    "spica.background": 4,
    "spica.formparsers": 4,
    "spica._typed": 4,
    "spica._type_hints": 4,
    "spica._scalars": 4,
    "spica._model_libraries": 4,
    "spica.reading": 4,
    "spica.requests": 4,
    "spica.websockets": 4,
    "spica.responses": 4,
    "spica.channels": 4.2,
    # what the layers share above Request and Response
    "spica._layers": 4.5,
    "spica.layers": 4.7,
    # dispatch
    "spica.convertors": 5,
    "spica.endpoints": 5,
    "spica.authentication": 5,
    "spica.auth": 5.5,
    "spica.routing": 5,
    # layers, one class a file
    "spica.middleware": 6,
    # other server protocols than ASGI; they only know an app
    "spica.servers": 6.5,
    # shared state: values and errors, the backends
    "spica.stores": 2.5,
    # services and the application
    "spica.staticfiles": 7,
    "spica.health": 7,
    "spica.jobs": 7,
    "spica.templating": 7,
    "spica.schemas": 7,
    "spica.applications": 7,
    # the test kit
    "spica.testclient": 8,
    # the front door, the switch for Starlette's name, the command line
    "spica": 9,
    "spica.compat": 9,
    "spica.checks": 9,
    "spica.cli": 9,
    "spica.__main__": 9,
    "spica.pytest_plugin": 9,
}
"""The floor of each module; a package's entry holds for everything in it (DESIGN.md section 5)."""


def floor_of(name: str) -> float | None:
    """The floor of a module, or None when the plan does not know it."""
    if name == "spica":
        return FLOORS[name]
    while name != "spica":
        if name in FLOORS:
            return FLOORS[name]
        name = name.rpartition(".")[0]
    return None


def test_the_plan_knows_every_module(modules):
    assert [name for name in modules if floor_of(name) is None] == []


def test_the_plan_has_no_modules_that_do_not_exist(modules):
    assert [name for name in FLOORS if name not in modules] == []


def test_imports_go_downwards(graph):
    wrong = [
        f"{place}: {floor_of(importer)} {importer} imports {floor_of(imported)} {imported}"
        for importer, imports in graph.items()
        for imported, place in imports.items()
        if (floor_of(importer) or 0) < (floor_of(imported) or 0)
    ]
    assert wrong == []


def test_no_import_goes_round_in_a_circle(graph):
    assert list(find_circles(graph)) == []


def find_circles(graph):
    """Yield one line for each way back to a module that is still being looked at."""
    done = set()
    for start in graph:
        trail = [start]
        branches = [iter(graph[start])]
        while start not in done and branches:
            following = next(branches[-1], None)
            if following is None:
                branches.pop()
                done.add(trail.pop())
            elif following in trail:
                yield " -> ".join([*trail[trail.index(following) :], following])
            elif following not in done:
                trail.append(following)
                branches.append(iter(graph[following]))


def test_find_circles_finds_one():
    graph = {"a": {"b": ""}, "b": {"c": ""}, "c": {"b": "", "d": ""}, "d": {}}
    assert list(find_circles(graph)) == ["b -> c -> b"]


def test_the_front_door_imports_nothing_by_itself(modules):
    """``import spica`` itself loads no module: what it offers is loaded when it is asked for."""
    eager = [
        statement
        for statement in modules["spica"].tree.body
        if type(statement).__name__ in ("Import", "ImportFrom")
        and getattr(statement, "module", "") not in ("__future__", "typing")
    ]
    assert [modules["spica"].place(statement) for statement in eager] == []
