"""Find mistakes in an application without a request, for ``python -m spica check module:app``.

`examine` returns the findings, and the command line prints them. The checks build the middleware, as a
server does at start-up. They send no request and run no lifespan.
"""

from spica.checks.finding import Finding, Severity
from spica.checks.loading import LoadError, load_application
from spica.checks.report import examine

__all__ = ["Finding", "LoadError", "Severity", "examine", "load_application"]
