"""Starlette's apps."""

from benchmarks.apps_toolkit import build
from benchmarks.cases import Apps, Material


def apps(material: Material) -> Apps:
    return build("starlette", "Starlette", material)
