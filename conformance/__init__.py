"""Starlette's own tests, run on spica: `scripts/conformance`.

The tests are fetched when they are needed and are no part of this repository. What is here: the
alias under which they find spica (`alias`), the way to get them (`release`), what they say
(`recorder`), and what is known to differ (`lists`, with `deviations.toml` and `private.toml`).
"""
