"""Tasks, runs and the WebSocket kit in a FastAPI application on spica."""

import json


def test_a_fastapi_application_uses_them(run_python):
    printed = run_python("""
        import contextlib
        import json
        import spica.compat
        spica.compat.install()
        from fastapi import BackgroundTasks, FastAPI, Request, WebSocket
        from spica.channels import Channels, Runs
        from spica.responses import EventSourceResponse, last_event_id
        from spica.stores import MemoryStore
        from spica.testclient import TestClient
        from spica.websockets import Outbox

        channels = Channels()
        runs = Runs(channels, MemoryStore())
        done = []

        @contextlib.asynccontextmanager
        async def lifespan(app):
            async with channels.lifespan(app), runs.lifespan(app):
                yield

        app = FastAPI(lifespan=lifespan)

        @app.post("/task")
        def start_task(request: Request, background_tasks: BackgroundTasks):
            background_tasks.add_task(done.append, "detached", detach=True)
            return request.app.tasks.start(done.append, "task", name="work").name

        async def agent():
            yield "Hello"
            yield {"n": 1}

        @app.post("/run")
        async def start_run():
            return (await runs.start(agent(), key="k")).id

        @app.get("/run/{id}")
        async def read(request: Request, id: str):
            return EventSourceResponse(runs.events(id, after=last_event_id(request)))

        @app.websocket("/socket")
        async def socket(websocket: WebSocket):
            await websocket.accept()
            async with Outbox(websocket) as outbox:
                async def receive(message):
                    outbox.put(message.upper())
                await websocket.run(receive=receive)

        with TestClient(app) as client:
            names = [client.post("/task").json()]
            id = client.post("/run").json()
            with client.stream("GET", f"/run/{id}") as response:
                events = [[event.event, event.data] for event in response.events()]
            with client.websocket_connect("/socket") as session:
                session.send_text("hi")
                names.append(session.receive_text())
        print(json.dumps([names, events, sorted(done)]))
    """)
    assert json.loads(printed) == [
        ["work", "HI"],
        [["message", "Hello"], ["message", '{"n":1}'], ["done", "{}"]],
        ["detached", "task"],
    ]
