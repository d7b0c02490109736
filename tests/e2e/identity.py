"""A small real OpenID Connect provider for one test run: whoever clicks a name is that person."""

import json
import secrets
import threading
import time
from base64 import b64decode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT_ID, CLIENT_SECRET = "assay", "a secret of this test run only"


class Provider:
    """Serves discovery, authorisation, tokens and keys on a free port of this machine."""

    def __init__(self, people: dict[str, dict[str, Any]]) -> None:
        self.people = people
        self.key = RSAKey.generate_key(2048, {"kid": "test", "use": "sig", "alg": "RS256"})
        self.codes: dict[str, dict[str, Any]] = {}
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.get(self)

            def do_POST(self) -> None:
                provider.post(self)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def get(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if parts.path == "/.well-known/openid-configuration":
            self._json(handler, self._configuration())
        elif parts.path == "/jwks":
            self._json(handler, {"keys": [self.key.as_dict(private=False)]})
        elif parts.path == "/authorize":
            links = [f'<p><a href="/as?who={quote(who)}&{parts.query}">{who}</a></p>' for who in self.people]
            self._send(handler, 200, "text/html", "".join(links).encode())
        elif parts.path == "/as":
            code = secrets.token_urlsafe()
            self.codes[code] = asked
            target = f"{asked['redirect_uri']}?code={code}&state={quote(asked['state'])}"
            handler.send_response(302)
            handler.send_header("Location", target)
            handler.end_headers()
        else:
            self._send(handler, 404, "text/plain", b"")

    def post(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers["Content-Length"])).decode()
        form = {name: values[0] for name, values in parse_qs(body).items()}
        basic = b64decode(handler.headers.get("Authorization", "").removeprefix("Basic ")).decode()
        asked = self.codes.pop(form.get("code", ""), None)
        if asked is None or CLIENT_SECRET not in (form.get("client_secret"), unquote(basic.partition(":")[2])):
            self._send(handler, 400, "application/json", b'{"error": "invalid_grant"}')
            return
        now = int(time.time())
        claims = {"iss": self.url, "aud": CLIENT_ID, "sub": asked["who"], "iat": now, "exp": now + 600}
        claims |= {"nonce": asked["nonce"]} if "nonce" in asked else {}
        claims |= self.people[asked["who"]]
        token = jwt.encode({"alg": "RS256", "kid": "test"}, claims, self.key)
        self._json(handler, {"access_token": "x", "token_type": "Bearer", "expires_in": 600, "id_token": token})

    def _configuration(self) -> dict[str, Any]:
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/jwks",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        }

    def _json(self, handler: BaseHTTPRequestHandler, value: Any) -> None:
        self._send(handler, 200, "application/json", json.dumps(value).encode())

    def _send(self, handler: BaseHTTPRequestHandler, status: int, kind: str, body: bytes) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)
