"""A security key in software: it makes passkeys and signs challenges, also with mistakes.

Standards: Web Authentication Level 3, s.6.1 (authenticator data) and s.5.8.1 (client data).
"""

import hashlib
import json
import os
from base64 import urlsafe_b64decode, urlsafe_b64encode

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

PRESENT, VERIFIED, ATTESTED = 0x01, 0x04, 0x40


def encode(value):
    return urlsafe_b64encode(value).rstrip(b"=").decode()


def decode(value):
    return urlsafe_b64decode(value + "=" * (-len(value) % 4))


class Authenticator:
    """One passkey. The attributes decide what the next answer contains."""

    def __init__(self, origin):
        self.origin = origin
        self.rp_id = None  # None: the one of the options
        self.flags = PRESENT | VERIFIED
        self.sign_count = 0
        self.step = 1
        self.id = os.urandom(32)
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.user_handle = None

    def create(self, options):
        """Return the answer of the browser to the options for a registration."""
        self.user_handle = decode(options["user"]["id"])
        data = self._data(options["rp"]["id"], self.flags | ATTESTED)
        data += bytes(16) + len(self.id).to_bytes(2, "big") + self.id + self._public_key()
        attestation = cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data})
        response = {
            "clientDataJSON": encode(self._client_data("webauthn.create", options)),
            "attestationObject": encode(attestation),
        }
        return self._credential(response)

    def get(self, options):
        """Return the answer of the browser to the options for a login."""
        self.sign_count += self.step
        data = self._data(options["rpId"], self.flags)
        client_data = self._client_data("webauthn.get", options)
        signed = data + hashlib.sha256(client_data).digest()
        response = {
            "clientDataJSON": encode(client_data),
            "authenticatorData": encode(data),
            "signature": encode(self.key.sign(signed, ec.ECDSA(hashes.SHA256()))),
            "userHandle": encode(self.user_handle),
        }
        return self._credential(response)

    def _credential(self, response):
        id = encode(self.id)
        return {"id": id, "rawId": id, "type": "public-key", "response": response}

    def _client_data(self, kind, options):
        fields = {"type": kind, "challenge": options["challenge"], "origin": self.origin}
        return json.dumps(fields).encode()

    def _data(self, rp_id, flags):
        digest = hashlib.sha256((self.rp_id or rp_id).encode()).digest()
        return digest + bytes([flags]) + self.sign_count.to_bytes(4, "big")

    def _public_key(self):
        numbers = self.key.public_key().public_numbers()
        x, y = (number.to_bytes(32, "big") for number in (numbers.x, numbers.y))
        return cbor2.dumps({1: 2, 3: -7, -1: 1, -2: x, -3: y})
