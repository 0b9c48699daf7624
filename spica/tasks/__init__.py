"""Tasks of the application: work that outlives a request, and work that repeats.

Start them with ``app.tasks``. They run in the event loop of the lifespan and end with it, on asyncio and
trio. They are not a queue: a task that runs when the process dies is lost, it has no result, and there is
no schedule by date. Use a job queue for work that must not be lost.
"""

from spica.tasks.registry import Tasks, TasksFull
from spica.tasks.running import TaskHandle

__all__ = ["TaskHandle", "Tasks", "TasksFull"]
