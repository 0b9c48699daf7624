"""Switch the processes that ``python -m spica.compat`` starts.

Where no start-up file is enabled, the command puts this directory first on PYTHONPATH, so that ``site``
imports this module at the start of each process. It then runs the ``sitecustomize`` that it hides, if any.
"""

import importlib.machinery
import importlib.util
import os
import sys


def _switch() -> None:
    # The variables also reach interpreters of other environments, which may have no spica.
    if importlib.util.find_spec("spica") is None:
        return
    try:
        from spica.compat.startup import start
    except BaseException as error:  # ``site`` would go on, and the program would run on Starlette
        print(f"spica.compat: spica fails to import: {error!r}", file=sys.stderr, flush=True)
        os._exit(1)
    start()


def _run_hidden() -> None:
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [path for path in sys.path if os.path.abspath(path) != here]
    spec = importlib.machinery.PathFinder.find_spec(__name__, sys.path)
    if spec is not None and spec.loader is not None:
        module = importlib.util.module_from_spec(spec)
        sys.modules[__name__] = module
        spec.loader.exec_module(module)


_switch()
_run_hidden()
