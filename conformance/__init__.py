"""Tests of others, run on spica: `scripts/conformance`.

The tests are fetched when they are needed and are no part of this repository. What is here for
Starlette's own (`starlette_suite`): the alias under which they find spica (`alias`), the way to get them
(`release`), what they say (`recorder`), and what is known to differ (`lists`, with `deviations.toml` and
`private.toml`). For those of packages that are built on Starlette: `dependents`.
"""
