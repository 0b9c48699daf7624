"""Sessions in a store, in a FastAPI application on spica."""

import json


def test_a_fastapi_application_uses_them(run_python):
    printed = run_python("""
        import json
        import spica.compat
        spica.compat.install()
        from fastapi import Depends, FastAPI, HTTPException, Request, WebSocket
        from starlette.middleware.sessions import SessionMiddleware
        from spica.middleware.sessions import Sessions
        from spica.stores import MemoryStore
        from spica.testclient import TestClient

        store = MemoryStore()
        app = FastAPI()
        app.add_middleware(SessionMiddleware, secret_key="k" * 32, store=store)

        def user(request: Request) -> str:
            if request.session.user_id is None:
                raise HTTPException(401)
            return request.session.user_id

        @app.post("/login")
        async def login(request: Request):
            request.session.bind("7", device="phone")

        @app.get("/")
        def index(request: Request, user_id: str = Depends(user)):
            return {"user": user_id, "seen": request.session.get("seen")}

        @app.websocket("/socket")
        async def socket(websocket: WebSocket):
            await websocket.accept()
            websocket.session["seen"] = await websocket.receive_text()
            await websocket.send_json(await websocket.session.save())

        @app.post("/everywhere")
        async def everywhere(user_id: str = Depends(user)):
            return await Sessions(store).revoke_all(user_id)

        client = TestClient(app)
        found = [client.get("/").status_code]
        client.post("/login")
        with client.websocket_connect("/socket") as socket:
            socket.send_text("hello")
            found.append(socket.receive_json())
        found.append(client.get("/").json())
        found.append(client.post("/everywhere").json())
        found.append(client.get("/").status_code)
        print(json.dumps(found))
    """)
    assert json.loads(printed) == [401, True, {"user": "7", "seen": "hello"}, 1, 401]
