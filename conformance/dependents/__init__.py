"""The tests of packages that are built on Starlette, run on spica through `spica.compat`.

Each suite (`suites.toml`) has the source release that its tests come from and an environment of its own, with
Starlette itself and spica in it. The tests run twice there: once as they are, and once with SPICA_COMPAT=1.
What passes on Starlette and fails on spica is a regression, unless `losses.toml` tells why it is none.
"""
