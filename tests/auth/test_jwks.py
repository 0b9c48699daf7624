"""Tests of spica/auth/jwks.py."""

import anyio
import httpx2
import pytest
from token_issuer import Issuer, make_key

from spica.auth.jwks import KeysUnavailable, RemoteKeys, read_key_set, read_public_key

pytestmark = pytest.mark.anyio


def make_keys(issuer, **options):
    return RemoteKeys(issuer.url, issuer.client, clock=issuer.clock, **options)


async def select(keys, kid="one"):
    return [key.kid for key in await keys.select(lambda key: key.kid == kid)]


async def test_keys_are_fetched_once_in_ten_minutes():
    issuer = Issuer()
    keys = make_keys(issuer)
    counts = []
    for seconds in (0, 1, 598, 1):
        issuer.now += seconds
        assert await select(keys) == ["one"]
        counts.append(issuer.requests)
    assert counts == [1, 1, 1, 2]


async def test_a_new_key_is_found_at_once():
    issuer = Issuer()
    keys = make_keys(issuer)
    await select(keys)
    issuer.keys = [make_key("two")]
    assert await select(keys, "two") == ["two"]
    assert await select(keys, "one") == []


async def test_unknown_keys_cause_one_fetch_a_minute():
    issuer = Issuer()
    keys = make_keys(issuer)
    await select(keys)
    counts = []
    for seconds in (0, 59, 1):
        issuer.now += seconds
        for number in range(50):
            assert await select(keys, f"unknown-{number}") == []
        counts.append(issuer.requests)
    assert counts == [2, 2, 3]


async def test_a_cancelled_fetch_for_an_unknown_key_does_not_count():
    issuer = Issuer()
    keys = make_keys(issuer)
    await select(keys)
    issuer.keys = [make_key("two")]

    async def hang(request):
        group.cancel_scope.cancel()
        await anyio.sleep_forever()

    issuer.failure = hang
    async with anyio.create_task_group() as group:
        group.start_soon(select, keys, "two")
    issuer.failure = None
    assert await select(keys, "two") == ["two"]


async def test_concurrent_requests_share_one_fetch():
    issuer = Issuer()
    keys = make_keys(issuer)
    found = []

    async def ask(kid):
        found.append(await select(keys, kid))

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(ask, "one")
    assert (found, issuer.requests) == ([["one"]] * 20, 1)


@pytest.fixture(params=[["asyncio", "trio"], ["trio", "asyncio", "asyncio"]], ids="-".join)
def backends(request):
    return request.param


def test_keys_work_in_one_event_loop_after_another(backends):
    issuer = Issuer()
    keys = make_keys(issuer)

    async def ask_many():
        issuer.now += 601
        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(select, keys)

    for backend in backends:
        anyio.run(ask_many, backend=backend)
    assert issuer.requests == len(backends)


async def test_requests_wait_for_the_fetch_of_a_new_key():
    issuer = Issuer()
    keys = make_keys(issuer)
    await select(keys)
    issuer.keys = [make_key("two")]
    gate = anyio.Event()
    found = []

    async def answer(request):
        await gate.wait()
        return httpx2.Response(200, json=issuer.document())

    async def ask():
        found.append(await select(keys, "two"))

    issuer.failure = answer
    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        assert await select_known(keys) == ["one"]  # the old keys are used meanwhile
        gate.set()
    assert (found, issuer.requests) == ([["two"]] * 5, 2)


async def select_known(keys):
    with anyio.fail_after(30):
        return await select(keys, "one")


FAILURES = [500, 302, httpx2.ConnectError("refused"), httpx2.ReadTimeout("slow")]


@pytest.mark.parametrize("failure", FAILURES, ids=repr)
async def test_old_keys_are_used_for_an_hour_while_the_issuer_is_down(failure):
    issuer = Issuer()
    keys = make_keys(issuer)
    await select(keys)
    issuer.failure = failure
    issuer.now += 3599
    assert await select(keys) == ["one"]
    issuer.now += 1
    with pytest.raises(KeysUnavailable):
        await select(keys)


async def test_an_issuer_that_is_down_is_asked_once_a_minute_while_keys_are_usable():
    issuer = Issuer()
    keys = make_keys(issuer)
    await select(keys)
    issuer.failure = 503
    issuer.now += 600
    counts = []
    for seconds in (0, 59, 1):
        issuer.now += seconds
        assert await select(keys) == ["one"]
        counts.append(issuer.requests)
    assert counts == [2, 2, 3]


async def test_an_issuer_that_is_down_is_asked_every_five_seconds_without_keys():
    issuer = Issuer()
    issuer.failure = 503
    keys = make_keys(issuer)
    counts = []
    for seconds in (0, 4.9, 0.1):
        issuer.now += seconds
        with pytest.raises(KeysUnavailable):
            await select(keys)
        counts.append(issuer.requests)
    assert counts == [1, 1, 2]
    issuer.failure = None
    issuer.now += 5
    assert await select(keys) == ["one"]


async def test_an_issuer_that_does_not_answer_holds_no_request_for_long():
    issuer = Issuer()

    async def answer(request):
        await anyio.sleep_forever()

    issuer.failure = answer
    with pytest.raises(KeysUnavailable), anyio.fail_after(30):
        await select(make_keys(issuer, timeout_seconds=0.01))


async def test_a_cancelled_fetch_leaves_the_next_one_free():
    issuer = Issuer()

    async def answer(request):
        await anyio.sleep_forever()

    issuer.failure = answer
    keys = make_keys(issuer)
    with anyio.move_on_after(0):
        await select(keys)
    issuer.failure = None
    assert await select(keys) == ["one"]


def body(content, **headers):
    async def answer(request):
        return httpx2.Response(200, content=content, headers=headers)

    return answer


@pytest.mark.parametrize(
    "failure",
    [
        body(b"{"),
        body(b"[]"),
        body(b'{"keys": {}}'),
        body(b'{"keys": [' + b"{}," * 64 + b"{}]}"),
        body(b'{"keys": []}' + b" " * 256 * 1024),
        body(b"\x1f\x8b", **{"content-encoding": "gzip"}),
    ],
    ids=["json", "list", "object", "many", "large", "compressed"],
)
async def test_a_wrong_document_is_a_failure(failure):
    issuer = Issuer()
    issuer.failure = failure
    with pytest.raises(KeysUnavailable):
        await select(make_keys(issuer))


def test_as_many_keys_as_allowed_are_read():
    assert read_key_set({"keys": [{}] * 64}) == []


GOOD = make_key("one").as_dict(private=False)


@pytest.mark.parametrize(
    "jwk",
    [
        None,
        {},
        {"kty": "oct", "k": "c2VjcmV0"},
        {"kty": "new"},
        {"kty": []},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
        {"kty": "EC", "crv": "P-256", "x": 5, "y": None},
        {"kty": "RSA", "n": "é", "e": "AQAB"},
        {"kty": "OKP", "crv": "Ed25519", "x": ""},
        {"kty": "OKP", "crv": "X25519", "x": "AA"},
        {**GOOD, "use": "enc"},
        {**GOOD, "key_ops": ["sign"]},
        {**GOOD, "key_ops": 7},
        {**GOOD, "kid": 7},
        {**GOOD, "alg": []},
    ],
)
def test_keys_that_can_not_verify_are_skipped(jwk):
    assert read_public_key(jwk) is None  # RFC 7517 s.5


def test_the_private_part_of_a_key_is_dropped():
    key = read_public_key(make_key("one").as_dict(private=True))
    assert not key.value.is_private
