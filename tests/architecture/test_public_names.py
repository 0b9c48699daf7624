"""Packages outside the core use public names only, so that users can write the same."""

import ast

LAYERS = (
    "spica.middleware.admission",
    "spica.middleware.cache",
    "spica.middleware.compression.decompression",
    "spica.middleware.compression.layer",
    "spica.caching",
    "spica.middleware.conditional",
    "spica.middleware.cors",
    "spica.middleware.crossorigin",
    "spica.middleware.httpsredirect",
    "spica.middleware.idempotency",
    "spica.middleware.proxyheaders",
    "spica.middleware.ratelimit",
    "spica.middleware.securityheaders",
    "spica.middleware.sessions.admin",
    "spica.middleware.sessions.records",
    "spica.middleware.sessions.settings",
    "spica.middleware.sessions.storage",
    "spica.middleware.sessions.stored",
    "spica.middleware.trustedhost",
    "spica.signing",
)
"""Middleware written with ``spica.layers``: nothing private of the layers, and nothing of the plumbing."""

STRICT = (
    "spica.auth.",
    "spica.channels",
    "spica.convertors",
    "spica.health",
    "spica.jobs",
    "spica.status",
    "spica.stores",
    "spica.tasks",
)
"""Packages that import no private name at all. Every new package belongs here."""

SHARED = (
    "spica._asgi.scope",  # the names of the scope keys, and the public path
    "spica._diagnostics",
    "spica._http",
    "spica._originals",
)


def private_imports(module):
    """Yield the place and the name of each private name of spica that a module imports."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("spica"):
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                if any(part.startswith("_") for part in name.split(".")):
                    yield module.place(node), name


def is_shared(name):
    return any(name == shared or name.startswith(shared + ".") for shared in SHARED)


def test_middleware_written_with_layers_imports_nothing_private_of_them(modules):
    wrong = [
        f"{place} {name}"
        for each in LAYERS
        for place, name in private_imports(modules[each])
        if not is_shared(name)
    ]
    assert wrong == []


def test_strict_packages_import_no_private_name(modules):
    wrong = [
        f"{place} {name}"
        for name_of, module in modules.items()
        if name_of.startswith(STRICT)
        for place, name in private_imports(module)
    ]
    assert wrong == []


def test_private_imports_finds_one(modules):
    assert [*private_imports(modules["spica.applications"])]
