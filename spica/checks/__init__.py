"""What can be found in an application without a request: ``python -m spica check module:app``.

`examine` looks at an application and returns findings; the command line prints them. Nothing is served,
and no lifespan runs; middleware is made, as it is at start-up.
"""

from spica.checks.examine import examine
from spica.checks.finding import Finding, Severity
from spica.checks.loading import LoadError, load_application

__all__ = ["Finding", "LoadError", "Severity", "examine", "load_application"]
