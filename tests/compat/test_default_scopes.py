"""Default scopes in a FastAPI application on spica."""

import json


def test_a_fastapi_application_denies_by_default(run_python):
    printed = run_python("""
        import json
        import spica.compat
        spica.compat.install()
        from fastapi import FastAPI
        from starlette.authentication import AuthCredentials, SimpleUser
        from starlette.middleware.authentication import AuthenticationMiddleware
        from spica.auth import api_key
        from spica.testclient import TestClient

        class Keys:
            async def authenticate(self, conn):
                key = api_key(conn)
                return (AuthCredentials(["authenticated"]), SimpleUser(key)) if key else None

        app = FastAPI()
        app.default_scopes = ["authenticated"]
        app.add_middleware(AuthenticationMiddleware, backend=Keys(), challenge="Key")

        @app.get("/closed")
        def closed():
            return "closed"

        @app.get("/open")
        def opened():
            return "open"

        app.routes[-1].public = True
        client = TestClient(app)
        found = [client.get(path).status_code for path in ("/open", "/closed", "/docs")]
        found.append(client.get("/closed", headers={"X-API-Key": "ann"}).status_code)
        found.append(client.get("/closed").headers["www-authenticate"])
        print(json.dumps(found))
    """)
    assert json.loads(printed) == [200, 401, 401, 200, "Key"]
