"""A fake issuer for OpenID Connect: ``with RunningIssuer() as issuer`` serves it on ``issuer.url``.

It approves each login at once. ``issuer.fault`` names what is wrong with its next answers. The codes, PKCE
and the authentication of the client are checked as RFC 6749 and RFC 7636 ask for.
"""

import base64
import hashlib
import json
import secrets
import socket
import threading
import time
from urllib.parse import urlencode

import uvicorn
from joserfc import jws
from joserfc.jwk import OctKey
from token_issuer import make_key, sign

from spica.applications import Spica
from spica.authentication import basic_credentials, bearer_token
from spica.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from spica.routing import Route

CLIENT_ID = "shop"
CLIENT_SECRET = "the secret of the shop"
USER = "ada-7"


class Issuer:
    """The endpoints of the issuer, and its memory."""

    def __init__(self, url):
        self.url = url
        self.fault = None
        self.key = make_key("one")
        self.codes = {}
        self.revoked = []
        self.app = Spica(
            routes=[
                Route("/.well-known/openid-configuration", self.discovery),
                Route("/jwks", self.jwks),
                Route("/authorize", self.authorize),
                Route("/token", self.token, methods=["POST"]),
                Route("/userinfo", self.userinfo),
                Route("/revoke", self.revoke, methods=["POST"]),
                Route("/logout", self.logout),
            ]
        )

    async def discovery(self, request):
        if self.fault == "discovery":
            return PlainTextResponse("<h1>Maintenance</h1>", status_code=503)
        paths = {
            "authorization_endpoint": "/authorize",
            "token_endpoint": "/token",
            "userinfo_endpoint": "/userinfo",
            "revocation_endpoint": "/revoke",
            "end_session_endpoint": "/logout",
            "jwks_uri": "/jwks",
        }
        document = {
            "issuer": "https://other.example" if self.fault == "other discovery" else self.url,
            **{name: self.url + path for name, path in paths.items()},
            # Many issuers offer more than a client should accept.
            "id_token_signing_alg_values_supported": ["ES256", "HS256", "none"],
        }
        return JSONResponse(document)

    async def jwks(self, request):
        return JSONResponse({"keys": [self.key.as_dict(private=False)]})

    async def authorize(self, request):
        query = dict(request.query_params)
        if query["client_id"] != CLIENT_ID or query["code_challenge_method"] != "S256":
            return PlainTextResponse("invalid request", status_code=400)
        answer = {"code": secrets.token_urlsafe(), "state": query["state"]}
        if self.fault == "denied":
            answer = {"error": "access_denied", "state": query["state"]}
        else:
            self.codes[answer["code"]] = query
        return RedirectResponse(f"{query['redirect_uri']}?{urlencode(answer)}", status_code=303)

    async def token(self, request):
        form = await request.form()
        query = self.codes.pop(form["code"], None)
        if self.fault == "token":
            return PlainTextResponse("<h1>Bad gateway</h1>", status_code=502)
        if basic_credentials(request) != (CLIENT_ID, CLIENT_SECRET):
            return JSONResponse({"error": "invalid_client"}, 401)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if (
            query is None
            or query["code_challenge"] != challenge
            or query["redirect_uri"] != form["redirect_uri"]
        ):
            return JSONResponse({"error": "invalid_grant"}, 400)
        answer = {"access_token": "access", "refresh_token": "refresh", "token_type": "Bearer"}
        if self.fault != "no id token":
            answer["id_token"] = self.id_token(query["nonce"])
        return JSONResponse(answer)

    def id_token(self, nonce):
        now = int(time.time())
        claims = {
            "iss": "https://other.example" if self.fault == "issuer" else self.url,
            "aud": CLIENT_ID,
            "sub": USER,
            "nonce": "another" if self.fault == "nonce" else nonce,
            "iat": now,
            "exp": now - 120 if self.fault == "expired" else now + 300,
        }
        if self.fault == "audience":
            claims |= {"aud": "another", "azp": CLIENT_ID}
        return self.sign(json.dumps(claims).encode())

    def sign(self, payload):
        if self.fault == "none":
            parts = [b'{"alg":"none"}', payload]
            return ".".join(base64.urlsafe_b64encode(p).rstrip(b"=").decode() for p in parts) + "."
        if self.fault == "garbage":
            return "a.b.c"
        if self.fault == "shared secret":
            key = OctKey.import_key(CLIENT_SECRET)
            return jws.serialize_compact({"alg": "HS256"}, payload, key, algorithms=["HS256"])
        key = make_key("two") if self.fault == "key" else self.key
        return sign({"alg": "ES256", "kid": self.key.kid}, payload, key)

    async def userinfo(self, request):
        if bearer_token(request) != "access":
            return Response(status_code=401)
        subject = "bob" if self.fault == "other user" else USER
        return JSONResponse({"sub": subject, "name": "Ada <b>"})

    async def revoke(self, request):
        form = await request.form()
        self.revoked.append(form["token"])
        return Response()

    async def logout(self, request):
        return RedirectResponse(request.query_params["post_logout_redirect_uri"], status_code=303)


class RunningIssuer(Issuer):
    """The issuer under uvicorn, in a thread of this process."""

    def __init__(self):
        self._socket = socket.create_server(("127.0.0.1", 0))
        super().__init__(f"http://127.0.0.1:{self._socket.getsockname()[1]}")
        self._server = uvicorn.Server(uvicorn.Config(self.app, log_config=None))
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True
        )

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        """End the server: from then on, connections are refused."""
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()
