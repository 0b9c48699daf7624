"""spica's apps."""

from benchmarks.apps_toolkit import build
from benchmarks.cases import Apps, Material


def apps(material: Material) -> Apps:
    return build("spica", "Spica", material)
