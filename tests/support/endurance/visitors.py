"""The clients that check sessions and limits."""

from __future__ import annotations

import asyncio
import itertools

from endurance.readers import Site

BURST = 10
REQUESTS = 25


class Visitor:
    """A user who logs in, writes from two windows at once, and logs out while a request still runs."""

    def __init__(self, site: Site, name: str) -> None:
        self.site = site
        self.name = name
        self.numbers = itertools.count()
        self.values: dict[str, set[str | None]] = {}
        self.cookie = ""
        self.changes = 0
        self.ended: list[str] = []
        """The cookies of the sessions that ended."""

    async def run(self) -> None:
        while not self.site.is_over:
            await self.log_in()
            for _ in range(3):
                await asyncio.gather(self.write("a"), self.write("b"))
                if not await self.check():
                    break
            else:
                await self.log_out()
            await asyncio.sleep(0.2)

    async def log_in(self) -> None:
        self.changes = self.site.changes
        _, headers, _ = await self.site.request_until(f"/session/login?user={self.name}")
        self.cookie = headers["set-cookie"].partition(";")[0]
        self.values = {"a": {None}, "b": {None}}

    async def write(self, key: str) -> None:
        """Write a value. Without an answer, the session may have the old or the new one."""
        value = str(next(self.numbers))
        path = f"/session/write?key={key}&value={value}"
        status, _, _ = await self.site.request(path, cookie=self.cookie)
        if status == 200:
            self.site.counts["session writes"] += 1
            self.values[key] = {value}
        else:
            self.values[key] = self.values[key] | {value}

    async def check(self) -> bool:
        """Compare the session with the values written; return False if the store has lost it."""
        while True:
            status, _, found = await self.site.request("/session/show", cookie=self.cookie)
            if status in (200, 401):
                break
            await asyncio.sleep(0.1)
        if status == 401:
            if self.site.keeps_state or self.changes == self.site.changes:
                self.site.complain(f"{self.name}: the session is lost")
            self.site.counts["sessions lost with the store"] += 1
            return False
        for key, values in self.values.items():
            if found.get(key) not in values:
                self.site.complain(f"{self.name}: {key} is {found.get(key)}, not in {values}")
        return True

    async def log_out(self) -> None:
        """Log out while another request is about to save the session."""
        late = asyncio.create_task(self.late_write())
        await asyncio.sleep(0.05)
        status, _, _ = await self.site.request("/session/logout", cookie=self.cookie)
        await late
        if status == 200:
            self.ended.append(self.cookie)
            await self.check_end(self.cookie)

    async def late_write(self) -> None:
        path = "/session/write?key=c&value=1&sleep=0.2"
        await self.site.request(path, cookie=self.cookie)

    async def check_end(self, cookie: str) -> None:
        """A session that has ended must not come back."""
        status, _, found = await self.site.request("/session/show", cookie=cookie)
        if status == 200:
            self.site.complain(f"{self.name}: a session is back after logout: {found}")
        self.site.counts["logouts checked"] += status == 401


async def check_limits(site: Site, name: str) -> None:
    """Send bursts of requests, each with a key of its own: exactly ``BURST`` must pass."""
    for number in itertools.count():
        if site.is_over:
            return
        changes = site.changes
        sent = [site.request("/take", x_key=f"{name}-{number}") for _ in range(REQUESTS)]
        statuses = [status for status, _, _ in await asyncio.gather(*sent)]
        admitted = statuses.count(200)
        unknown = sum(status not in (200, 429) for status in statuses)
        forgot = not site.keeps_state and changes != site.changes
        if not forgot and not admitted <= BURST <= admitted + unknown:
            site.complain(f"{name}-{number}: {admitted} admitted, {unknown} unknown")
        site.counts["bursts checked exactly"] += unknown == 0
        site.counts["bursts checked with faults"] += unknown > 0
        await asyncio.sleep(0.3)
