"""A Deployment of Astro by its name: how it is found, what an outage is explained with, and how it is woken."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from astronomer_remote.api.client import outages
from astronomer_remote.api.client.client import Client
from astronomer_remote.api.client.outages import SECONDS_AWAKE, SECONDS_TO_WAKE, Outage
from astronomer_remote.api.client.places import Place
from astronomer_remote.api.client.retry import RetryPolicy
from astronomer_remote.api.deployment import Deployment
from astronomer_remote.api.logins.astro import API, TEST_API, control_plane
from astronomer_remote.api.pools.target import PoolTarget
from astronomer_remote.api.protocol.errors import (
    AccessDenied,
    AuthenticationFailed,
    InvalidSettings,
    NotFound,
    RemoteError,
    RemoteUnavailable,
    TransientError,
    UnexpectedReply,
    Unreachable,
)
from astronomer_remote.api.protocol.flow import Flow, Request, Response, TransportError
from astronomer_remote.api.protocol.models import Generation, parse_date
from astronomer_remote.api.protocol.settings import Settings
from astronomer_remote.api.waiting.target import WaitTarget
from astronomer_remote.api.waiting.waiter import UNREACHABLE_TIMEOUT, ConditionWaiter, Waiter
from astronomer_remote.testing import VirtualClock, drive
from tests.api.script import LOST, UNSENT, answer, ok, page, plain
from tests.astro import DEPLOYMENT_ID, NAME, ORGANIZATION, TOKEN, URL, FakeAstro, error

FIELDS = {"astro_organization_id": ORGANIZATION, "astro_deployment": NAME}
SLEEPS = plain(503, "no healthy upstream")


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Outage, "_all", {})
    monkeypatch.setattr(Place, "_all", {})


def connection(host: str = "", token: str = TOKEN, **extra: Any) -> Settings:
    return Settings.parse(host=host, password=token, extra={"auth": "astro_token", **FIELDS, **extra})


class Astro:
    """The Astro API and a Deployment behind Astro's gateway, whose replies depend on each other."""

    def __init__(self, settings: Settings | None = None, retry: RetryPolicy | None = None) -> None:
        self.api = FakeAstro()
        self.clock = VirtualClock()
        self.settings = settings or connection(URL)
        self.client = Client(self.settings, retry=retry, clock=self.clock, jitter=lambda: 0.0)
        self.deployment = Deployment(self.settings, client=self.client)
        self.airflow: Callable[[Request], Response | TransportError] = lambda request: ok({"name": "p", "slots": 1})
        self.requests: list[Request] = []
        self.reloads = 0
        self.reloaded = self.settings
        self.woken_at: float | None = None

    def reload(self) -> Settings:
        self.reloads += 1
        return self.reloaded

    def handle(self, request: Request) -> Response | TransportError:
        self.requests.append(request)
        if request.url is None:
            assert request.headers.get("Authorization") in (f"Bearer {TOKEN}", None)
            if request.path.endswith("/version"):
                found = self.airflow(request)
                good = isinstance(found, Response) and found.status == 200
                return ok({"version": "3.3.2", "git_version": None}) if good else found
            return self.airflow(request)
        url, token = request.url.removeprefix("https://api.astronomer.io"), request.headers["Authorization"]
        assert request.url.startswith(f"{API}/")
        reply = answer(*self.api.answer(request.method, url, token, request.body))
        if request.method == "POST":
            self.woken_at = self.clock.now
        return reply

    def run(self, flow: Flow[Any]) -> Any:
        return drive(flow, self.handle, clock=self.clock, reload=self.reload)

    def get_pool(self) -> Any:
        return self.run(self.deployment.get_pool("p"))

    def locate(self, oldest: float = 600.0) -> str:
        return str(self.run(self.client.locate(oldest)).base_url)

    def wake_after(self, seconds: float) -> None:
        """Let it hibernate, and answer so many seconds after it was woken."""
        self.api.hibernate()

        def airflow(request: Request) -> Response:
            if self.woken_at is None or self.clock.now < self.woken_at + seconds:
                return SLEEPS
            self.api.is_ready()
            return ok({"name": "p", "slots": 1})

        self.woken_at = None
        self.airflow = airflow


# Finding


def test_a_deployment_is_found_by_its_name() -> None:
    astro = Astro(connection())
    assert astro.locate() == URL
    expected = f"/v1/organizations/{ORGANIZATION}/deployments?names=etl%20prod&limit=10"
    assert astro.api.received == [("GET", expected)]


def test_a_deployment_is_found_by_its_id() -> None:
    astro = Astro(connection(astro_deployment=DEPLOYMENT_ID))
    assert astro.locate() == URL
    assert astro.api.received == [("GET", f"/v1/organizations/{ORGANIZATION}/deployments/{DEPLOYMENT_ID}")]


def test_a_host_is_used_as_it_is() -> None:
    astro = Astro(connection("https://airflow.example.com"))
    assert astro.locate() == "https://airflow.example.com"
    assert not astro.requests


def test_the_name_of_a_deployment_is_enough_to_choose_the_login() -> None:
    found = Settings.parse(host=None, password=TOKEN, extra=FIELDS)
    assert (found.authentication, found.base_url) == ("astro_token", "")


@pytest.mark.parametrize(
    ("sent", "url"),
    [
        ("acme.astronomer.run/dbalgwwd/api/v1", "https://acme.astronomer.run/dbalgwwd"),
        ("https://acme.astronomer.run/dbalgwwd/api/v2/", "https://acme.astronomer.run/dbalgwwd"),
        ("https://dbalgwwd.cy.eu-1.astronomer.run", "https://dbalgwwd.cy.eu-1.astronomer.run"),
    ],
)
def test_urls_of_astro_are_read(sent: str, url: str) -> None:
    astro = Astro(connection())
    astro.api.deployment["webServerAirflowApiUrl"] = sent
    assert astro.locate() == url


def test_the_newer_field_is_read_if_the_older_one_is_gone() -> None:
    astro = Astro(connection())
    del astro.api.deployment["webServerAirflowApiUrl"]
    assert astro.locate() == URL


HOSTILE = [
    "https://evil.example.com/dbalgwwd/api/v2",
    "http://acme.astronomer.run/dbalgwwd",
    "https://acme.astronomer.run.evil.example.com/d",
    "https://evilastronomer.run/d",
    "https://astronomer.run/d",
    "https://acme.astronomer.run@evil.example.com/d",
    "https://user:secret@acme.astronomer.run/d",
    "https://acme.astronomer.run:8443/d",
    "https://acme.astronomer.run/d?next=https://evil.example.com",
    "https://acme.astronomer.run/d#x",
    "https://evil.example.com\\.astronomer.run/d",
    "https://evil.example.com/.astronomer.run/d",
    "https://evil.example.com%2f.astronomer.run/d",
    "https://acme.astronomer.run/../other/d",
    "https://acme.astronomer.run/d/..;/x",
    "https://acme.astronomer.run/d\nHost: evil.example.com",
    "https://acme.astronomer.run\n",
    "https://\u0430cme.astronomer.run/d",
    "https://acme.a\u017ftronomer.run/d",
    "https://127.0.0.1/d",
    "http://127.0.0.1:8080",
    "file:///etc/passwd",
    "",
]


@pytest.mark.parametrize("url", HOSTILE)
def test_a_url_of_another_host_is_refused(url: str) -> None:
    astro = Astro(connection())
    astro.api.deployment.update(webServerAirflowApiUrl=url, apiUrl=url)
    with pytest.raises(InvalidSettings, match=r"is no https URL below astronomer\.run, so the token is not sent there"):
        astro.locate()
    assert [request.url is None for request in astro.requests] == [False]
    # Nor is it used where only an outage is explained.
    down = Astro()
    down.api.deployment.update(webServerAirflowApiUrl=url, apiUrl=url)
    down.airflow = lambda request: SLEEPS
    with pytest.raises(RemoteUnavailable):
        down.get_pool()
    assert not down.reloads


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080", "http://127.0.0.1:8080/api/v2"])
def test_this_machine_is_allowed_only_with_a_stand_in_for_the_api(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TEST_API, "http://127.0.0.1:9")
    settings = connection()
    client = Client(settings)
    received = []

    def handle(request: Request) -> Response:
        received.append(request.url)
        return ok({"deployments": [{"id": "x", "name": NAME, "status": "HEALTHY", "webServerAirflowApiUrl": url}]})

    assert drive(client.locate(), handle).base_url == "http://127.0.0.1:8080"
    assert received == [f"http://127.0.0.1:9/organizations/{ORGANIZATION}/deployments?names=etl%20prod&limit=10"]


@pytest.mark.parametrize(
    "url",
    ["https://evil.example.com", "http://127.0.0.1.evil.example.com:80", "http://127.0.0.1:8/v1", "http://10.0.0.1:80"],
)
def test_the_stand_in_must_be_on_this_machine(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TEST_API, url)
    with pytest.raises(InvalidSettings, match=f"The environment's {TEST_API} is for tests"):
        connection()


@pytest.mark.parametrize(
    "fields",
    [
        {"api_url": "http://127.0.0.1:80", TEST_API: "http://127.0.0.1:80", "astro_api": "https://evil.example.com"},
        {"token_url": "https://evil.example.com", "urls": ["https://evil.example.com"], "entry_point": "os:system"},
        {"astro_deployment": "../../../evil"},
        {"astro_deployment": "x?names=y#z\r\nHost: evil.example.com"},
        {"astro_deployment": "__import__('os').system('true')"},
        {"astro_deployment": "{{ var.value.x }}"},
    ],
)
def test_no_field_of_a_connection_leads_to_another_host_or_endpoint(fields: dict[str, Any]) -> None:
    astro = Astro(connection(**fields))
    if "astro_deployment" in fields:
        with pytest.raises(NotFound):
            astro.locate()
    else:
        assert astro.locate() == URL
    (request,) = astro.requests
    assert request.url is not None
    start, _, query = request.url.partition("?names=")
    assert start == f"{API}/organizations/{ORGANIZATION}/deployments"
    assert not set(query) & set("/?#\r\n {}")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"astro_organization_id": ""}, "belong together"),
        ({"astro_deployment": "", "astro_organization_id": ORGANIZATION, "host": URL}, "belong together"),
        ({"astro_organization_id": "../evil"}, "must be the Organization's id"),
        ({"astro_organization_id": "x?y"}, "must be the Organization's id"),
        ({"astro_organization_id": "os:system"}, "must be the Organization's id"),
        ({"astro_deployment": ["x"]}, "must be text"),
        ({"wake": "os.system('true')"}, "wake=.os.* must be true or false"),
        ({"wake": True, "read_only": True}, "read_only forbids"),
        ({"auth": "basic", "host": URL, "wake": True}, "wake needs an Astro API token"),
        ({"auth": "os:system"}, "must be one of: auto, astro_token"),
    ],
)
def test_fields_that_are_wrong_or_try_to_run_something_are_refused(fields: dict[str, Any], said: str) -> None:
    host = fields.pop("host", "")
    with pytest.raises(InvalidSettings, match=said):
        Settings.parse(host=host, login="u", password=TOKEN, extra={"auth": "astro_token", **FIELDS, **fields})


def test_names_that_several_deployments_have_are_refused() -> None:
    astro = Astro(connection())
    two = [astro.api.deployment, {**astro.api.deployment, "id": "another"}]
    astro.api.failing = 200, {"deployments": two}
    with pytest.raises(InvalidSettings, match=f"id of one: {DEPLOYMENT_ID}, another"):
        astro.locate()


@pytest.mark.parametrize(
    ("reply", "kind", "said"),
    [
        (error(401, "Invalid token"), AuthenticationFailed, "it has expired or was deleted, or it has no access"),
        (
            error(403, "IP address 203.0.113.7 is not allowed"),
            AccessDenied,
            r"IP access list .*The remote said: IP address 203\.0\.113\.7 is not allowed",
        ),
        (error(403, ""), AccessDenied, "permission deployment.get"),
        (error(404, "Not found"), NotFound, "does not exist in the Organization"),
        ((200, {"deployments": []}), NotFound, "does not exist in the Organization"),
    ],
)
def test_why_a_deployment_is_not_found_is_reported(reply: tuple[int, Any], kind: type[RemoteError], said: str) -> None:
    astro = Astro(connection())
    astro.api.failing = reply
    with pytest.raises(kind, match=said):
        astro.locate()
    assert len(astro.requests) == 1


@pytest.mark.parametrize(
    "reply",
    [
        (500, {}),
        (418, {"message": ["odd"]}),
        (200, None),
        (200, []),
        (200, {}),
        (200, {"deployments": {}}),
        (200, {"deployments": ["x"]}),
        (200, {"deployments": [{"id": "a/b", "name": "x", "status": "HEALTHY"}]}),
        (200, {"deployments": [{"id": "x", "name": 1, "status": "HEALTHY"}]}),
        (200, {"deployments": [{"id": "x", "name": "x"}]}),
    ],
)
def test_an_odd_reply_is_retried(reply: tuple[int, Any]) -> None:
    astro = Astro(connection(), RetryPolicy(attempts=2))
    astro.api.failing = reply
    # An empty object of no Deployment says that there is none.
    with pytest.raises((UnexpectedReply, RemoteUnavailable, NotFound)):
        astro.locate()
    assert len(astro.requests) == (1 if reply[1] == {"deployments": {}} else 2)


def test_a_page_and_a_large_reply_are_read() -> None:
    astro = Astro(connection())
    astro.api.deployment["environmentVariables"] = [{"key": "X", "value": "y" * 100}] * 1000
    assert astro.locate() == URL
    client = Client(connection(astro_deployment="another"), retry=RetryPolicy(attempts=1))
    with pytest.raises(UnexpectedReply, match="HTTP 400"):
        drive(client.locate(), lambda request: page(400))


def test_a_url_is_remembered_for_a_while_and_used_longer_if_the_api_does_not_answer() -> None:
    astro = Astro(connection())
    assert [astro.locate(), astro.locate()] == [URL, URL]
    assert len(astro.requests) == 1
    astro.clock.now += 601
    astro.api.failing = 500, {}
    assert astro.locate() == URL
    assert [astro.locate(), len(astro.requests)] == [URL, 1 + 6], "the others do not retry, too"
    astro.clock.now += 601
    astro.api.failing = error(404, "")
    with pytest.raises(NotFound):
        astro.locate()
    astro.api.failing = None
    astro.api.deployment["webServerAirflowApiUrl"] = "acme.astronomer.run/moved"
    assert astro.locate() == "https://acme.astronomer.run/moved"
    astro.clock.now += 11
    astro.api.deployment["webServerAirflowApiUrl"] = "acme.astronomer.run/again"
    assert astro.locate(oldest=10.0) == "https://acme.astronomer.run/again"


def test_flows_that_start_together_look_it_up_once() -> None:
    clock = VirtualClock()
    api = FakeAstro()
    client = Client(connection(), clock=clock)

    def begin() -> tuple[Flow[Settings], Any]:
        flow = client.locate()
        return flow, flow.send(None)

    (first, request), (second, pause) = begin(), begin()
    assert pause.seconds > 0
    found = answer(*api.answer("GET", request.url.removeprefix("https://api.astronomer.io"), f"Bearer {TOKEN}", None))
    with pytest.raises(StopIteration) as one:
        first.send(found)
    with pytest.raises(StopIteration) as two:
        second.send(None)
    assert one.value.value == two.value.value == replace(connection(), base_url=URL)


def test_a_failure_counts_for_all_that_waited_for_it() -> None:
    client = Client(connection(), clock=VirtualClock())
    first, second = client.locate(), client.locate()
    first.send(None)
    second.send(None)
    with pytest.raises(NotFound) as one:
        first.send(answer(404, {}))
    with pytest.raises(NotFound) as two:
        second.send(None)
    assert str(one.value) == str(two.value)
    assert one.value is not two.value


def test_a_search_that_never_ends_is_repeated() -> None:
    astro = Astro(connection())
    forked = astro.client.locate()
    forked.send(None)
    assert astro.locate() == URL
    assert 290 < sum(astro.clock.sleeps) < 310


def test_the_memory_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("astronomer_remote.api.client.places.MOST_PLACES", 2)
    monkeypatch.setattr(outages, "MOST_DEPLOYMENTS", 2)
    for number in range(5):
        settings = connection(astro_deployment=f"d{number}")
        assert Place.of(settings) is Place.of(replace(settings, base_url=URL))
        assert Outage.of(settings) is Outage.of(settings)
    assert len(Place._all) <= 2
    assert len(Outage._all) <= 2


# Explaining


@pytest.mark.parametrize("reply", [SLEEPS, page(502), answer(504, {}), LOST, UNSENT])
def test_a_hibernating_deployment_is_named(reply: Response | TransportError) -> None:
    astro = Astro()
    astro.api.hibernate()
    astro.airflow = lambda request: reply
    with pytest.raises((RemoteUnavailable, Unreachable)) as error:
        astro.get_pool()
    assert error.value.message.startswith(
        "The Deployment 'etl prod' is hibernating until 2026-11-28T06:00:00Z, according to the Astro API. With wake in "
        "the connection, it is woken when it is needed. "
    )
    assert not error.value.waking
    assert astro.api.woken == 0
    assert len([request for request in astro.requests if request.url is None]) == 6
    assert len(astro.api.received) == 1, "one request in half a minute"


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"status": "DEPLOYING"}, "is being deployed, according"),
        ({"status": "CREATING"}, "is being created, according"),
        ({"status": "UNHEALTHY", "statusReason": "scheduler\n down"}, r"is unhealthy \(scheduler down\), according"),
        ({"status": "HEALTHY", "statusReason": "fine"}, "is healthy, according"),
        ({"status": "NEW"}, "has the status NEW, according"),
        ({"status": "HIBERNATING"}, "is hibernating, according"),
        ({"status": "HIBERNATING", "scalingStatus": "odd", "scalingSpec": None}, "is hibernating, according"),
        (
            {
                "status": "HIBERNATING",
                "scalingStatus": {"hibernationStatus": {"nextEventType": "WAKE", "nextEventAt": "tomorrow"}},
            },
            "is hibernating, according",
        ),
        (
            {
                "status": "HIBERNATING",
                "scalingSpec": {
                    "hibernationSpec": {
                        "override": {"isActive": True, "isHibernating": True, "overrideUntil": "2026-12-24T00:00:00Z"}
                    }
                },
            },
            "is hibernating until 2026-12-24T00:00:00Z, according",
        ),
    ],
)
def test_the_status_is_named(facts: dict[str, Any], said: str) -> None:
    astro = Astro(retry=RetryPolicy(attempts=1))
    astro.api.deployment.update(facts)
    astro.airflow = lambda request: SLEEPS
    with pytest.raises(RemoteUnavailable, match=said):
        astro.get_pool()


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (error(404, ""), "does not exist in the Organization"),
        (error(401, "no"), "Why is not known: The Astro API did not accept the token: it has expired or"),
        (error(403, "no"), "Why is not known: The Astro API refused it"),
    ],
)
def test_what_the_api_refuses_is_named(reply: tuple[int, Any], said: str) -> None:
    astro = Astro(retry=RetryPolicy(attempts=1))
    astro.api.failing = reply
    astro.airflow = lambda request: SLEEPS
    with pytest.raises(RemoteUnavailable, match=said):
        astro.get_pool()


@pytest.mark.parametrize("reply", [(500, {}), (200, "odd"), (301, {})])
def test_an_api_that_does_not_answer_changes_nothing(reply: tuple[int, Any]) -> None:
    plainly, astro = Astro(Settings.parse(host=URL, password=TOKEN, extra={"auth": "astro_token"})), Astro()
    for each in (plainly, astro):
        each.api.failing = reply
        each.airflow = lambda request: SLEEPS
    failures = []
    for each in (plainly, astro):
        with pytest.raises(RemoteUnavailable) as error:
            each.get_pool()
        failures.append((str(error.value), each.clock.sleeps))
    assert failures[0] == failures[1]
    assert (len(plainly.api.received), len(astro.api.received)) == (0, 1)
    astro.clock.now += 31
    with pytest.raises(RemoteUnavailable):
        astro.get_pool()
    assert len(astro.api.received) == 2


@pytest.mark.parametrize("status", [401, 403])
def test_an_api_that_refuses_is_not_read_again_for_minutes(status: int) -> None:
    astro = Astro(retry=RetryPolicy(attempts=1))
    astro.api.failing = error(status, "no")
    astro.airflow = lambda request: SLEEPS
    for seconds, received in ((0, 1), (290, 1), (20, 2)):
        astro.clock.now += seconds
        with pytest.raises(RemoteUnavailable):
            astro.get_pool()
        assert len(astro.api.received) == received


@pytest.mark.parametrize("status", [429, 500, 404])
def test_other_replies_are_not_explained(status: int) -> None:
    astro = Astro(retry=RetryPolicy(attempts=1))
    astro.airflow = lambda request: answer(status, {"detail": "x"})
    with pytest.raises(RemoteError):
        astro.get_pool()
    assert not astro.api.received


def test_what_was_known_of_an_earlier_outage_is_not_used() -> None:
    astro = Astro(connection(URL, wake=True), RetryPolicy(attempts=1))
    astro.api.deployment["status"] = "UNHEALTHY"
    astro.airflow = lambda request: SLEEPS
    with pytest.raises(RemoteUnavailable, match="is unhealthy"):
        astro.get_pool()
    astro.clock.now += 3600
    another = Client(astro.settings, clock=astro.clock).dialect()
    step = another.send(None)
    while isinstance(step, Request) and not step.url:
        step = another.send(SLEEPS)
    # While that flow reads the Astro API, nothing is known.
    with pytest.raises(RemoteUnavailable) as error:
        astro.get_pool()
    assert error.value.message.startswith("The remote could not answer now")
    assert len(astro.api.received) == 1
    another.close()


def test_a_deployment_that_has_moved_is_found() -> None:
    located = Astro(connection())
    located.locate()
    astro = Astro(replace(connection(), base_url=URL))
    moved = "https://acme.astronomer.run/moved"
    astro.reloaded = replace(astro.settings, base_url=moved)
    astro.airflow = lambda request: LOST if astro.client.settings.base_url == URL else ok({"name": "p", "slots": 1})
    astro.api.deployment["webServerAirflowApiUrl"] = moved
    assert astro.get_pool().name == "p"
    assert astro.reloads == 1
    assert located.locate() == moved
    assert len(located.api.received) == 1


NEW_TOKEN = "n3w-t0ken-of-the-other-deployment"
MOVED = "https://acme.astronomer.run/moved"


@pytest.mark.parametrize("while_", ["the version is detected", "a permission is proved"])
def test_a_request_with_the_old_token_is_not_sent_to_where_a_deployment_has_moved(while_: str) -> None:
    settings = replace(connection(), generation=Generation.V1)
    Astro(settings).locate()
    astro = Astro(replace(settings, base_url=URL))
    astro.reloaded = replace(astro.settings, base_url=MOVED, password=NEW_TOKEN)
    astro.api.deployment["webServerAirflowApiUrl"] = MOVED
    seen: list[tuple[str, str | None]] = []
    handle = astro.handle

    def airflow(request: Request) -> Response | TransportError:
        shown = request.headers.get("Authorization")
        seen.append((astro.client.settings.base_url, shown))
        is_version, is_pool = request.path.endswith("/version"), "/pools/" in request.path
        found = ok({"version": "2.11.2", "git_version": None}) if is_version else ok({"name": "p", "slots": 1})
        if astro.client.settings.base_url == MOVED:
            return found if shown == f"Bearer {NEW_TOKEN}" else plain(401, "")
        if while_ == "the version is detected":
            return LOST if shown else plain(401, "")
        if is_pool:
            return answer(403, {"detail": None})
        return found if is_version else LOST

    def handling(request: Request) -> Response | TransportError:
        return handle(request) if request.url else airflow(request)

    astro.handle = handling  # type: ignore[method-assign]  # of this one
    assert astro.get_pool().name == "p"
    assert (URL, f"Bearer {TOKEN}") in seen
    assert {shown for url, shown in seen if url == MOVED} == {None, f"Bearer {NEW_TOKEN}"}


@pytest.mark.parametrize("given", [NAME, DEPLOYMENT_ID])
def test_a_reply_about_another_deployment_is_not_used(given: str) -> None:
    astro = Astro(connection(astro_deployment=given))
    other = {**astro.api.deployment, "id": "another", "name": "another", "webServerAirflowApiUrl": "x.astronomer.run"}
    astro.api.failing = 200, {"deployments": [other], **other}
    with pytest.raises(NotFound):
        astro.locate()
    astro.api.failing = 200, {"deployments": [other, astro.api.deployment], **astro.api.deployment}
    assert astro.locate() == URL


def test_no_secret_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    astro = Astro(connection(URL, wake=True), RetryPolicy(attempts=1))
    assert TOKEN not in repr(control_plane(astro.settings.credentials))
    # A reply may repeat what the request contained.
    astro.api.deployment.update(status="UNHEALTHY", statusReason=f"no access with {TOKEN}")
    astro.airflow = lambda request: SLEEPS
    with caplog.at_level(logging.DEBUG), pytest.raises(RemoteUnavailable, match=r"no access with \*\*\*") as down:
        astro.get_pool()
    located = Astro(connection())
    located.api.deployment["webServerAirflowApiUrl"] = f"https://evil.example.com/{TOKEN}"
    with pytest.raises(InvalidSettings) as refused:
        located.locate()
    assert TOKEN not in f"{down.value} {refused.value} {caplog.text}"


# Waking


@pytest.mark.parametrize("seconds", [0, 60, 590])
def test_a_hibernating_deployment_is_woken_which_costs_no_attempt(
    seconds: float, caplog: pytest.LogCaptureFixture
) -> None:
    astro = Astro(connection(URL, wake=True), RetryPolicy(attempts=2, total_seconds=30))
    astro.wake_after(seconds)
    with caplog.at_level(logging.INFO, logger="astronomer_remote"):
        assert astro.get_pool().name == "p"
    assert astro.api.woken == 1
    override = astro.api.deployment["scalingSpec"]["hibernationSpec"]["override"]
    until = parse_date(override["overrideUntil"]).timestamp()
    assert override["isHibernating"] is False
    assert until == pytest.approx(astro.clock.now - seconds + SECONDS_AWAKE, abs=30)
    lines = [each.getMessage() for each in caplog.records if each.levelno == logging.INFO]
    assert [line for line in lines if "It was woken; that may take 10 minutes" in line] == lines[:1]
    assert set(astro.clock.sleeps) == {10.0}


def test_it_is_woken_again_when_it_hibernates_again() -> None:
    astro = Astro(connection(URL, wake=True))
    for number in (1, 2):
        astro.wake_after(30)
        astro.api.received.clear()
        assert astro.get_pool().name == "p"
        assert astro.api.woken == 1, number
        astro.clock.now += SECONDS_AWAKE


def test_one_that_does_not_wake_up_is_given_up() -> None:
    astro = Astro(connection(URL, wake=True))
    astro.wake_after(10_000)
    began = astro.clock.now
    with pytest.raises(RemoteUnavailable, match="It did not wake up within 10 minutes") as error:
        astro.get_pool()
    assert not error.value.waking
    assert SECONDS_TO_WAKE <= astro.clock.now - began < SECONDS_TO_WAKE + 180
    assert astro.api.woken == 1
    with pytest.raises(RemoteUnavailable, match="It did not wake up"):
        astro.get_pool()
    assert astro.api.woken == 1


def test_one_that_another_process_has_woken_is_waited_for() -> None:
    astro = Astro(connection(URL, wake=True), RetryPolicy(attempts=1))
    astro.api.hibernate()
    astro.api.override({"isActive": True, "isHibernating": False, "overrideUntil": "2030-01-01T00:00:00Z"})
    replies = [SLEEPS, SLEEPS, SLEEPS]
    astro.airflow = lambda request: replies.pop() if replies else ok({"name": "p", "slots": 1})
    assert astro.get_pool().name == "p"
    assert astro.api.woken == 0


def test_requests_that_hang_while_it_wakes_up_do_not_use_up_the_time_for_retries() -> None:
    astro = Astro(connection(URL, wake=True), RetryPolicy(attempts=3, total_seconds=60))
    astro.wake_after(300)
    # After it has answered, this counts.
    asleep, failures = astro.airflow, [answer(500, {})]

    def airflow(request: Request) -> Response | TransportError:
        reply = asleep(request)
        assert isinstance(reply, Response)
        if reply.status == 503:
            astro.clock.now += 30
            return LOST
        return failures.pop() if failures else reply

    astro.airflow = airflow
    assert astro.get_pool().name == "p"


def test_one_that_was_woken_by_a_request_without_a_reply_is_waited_for() -> None:
    astro = Astro(connection(URL, wake=True), RetryPolicy(attempts=9))
    astro.wake_after(120)
    handle = astro.handle

    def lossy(request: Request) -> Response | TransportError:
        reply = handle(request)
        return LOST if request.method == "POST" else reply

    astro.handle = lossy  # type: ignore[method-assign]  # of this one
    assert astro.get_pool().name == "p"
    assert astro.api.woken == 1
    assert 10.0 in astro.clock.sleeps


def test_a_caller_whose_time_is_over_does_not_wait_for_it() -> None:
    astro = Astro(connection(URL, wake=True))
    astro.wake_after(60)
    astro.airflow = lambda request: SLEEPS
    ends = astro.clock.now + 30
    handle = astro.handle

    def limited(request: Request) -> Response | TransportError:
        late = TransportError("the time for it is over", sent=False, out_of_time=True)
        return handle(request) if astro.clock.now < ends else late

    astro.handle = limited  # type: ignore[method-assign]  # of this one
    with pytest.raises(Unreachable, match="the time for it is over") as error:
        astro.get_pool()
    assert not error.value.waking
    assert astro.clock.sleeps.count(10.0) == 3
    assert len(astro.api.received) == 2


@pytest.mark.parametrize("status", ["UNHEALTHY", "DEPLOYING"])
def test_one_that_is_down_for_another_reason_is_not_woken(status: str) -> None:
    astro = Astro(connection(URL, wake=True))
    astro.api.deployment["status"] = status
    astro.airflow = lambda request: SLEEPS
    with pytest.raises(RemoteUnavailable) as error:
        astro.get_pool()
    assert "woke" not in error.value.message
    assert astro.api.woken == 0


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (
            error(403, "no"),
            "It could not be woken: The Astro API refused it. .* permission deployment.hibernation.update",
        ),
        (error(500, "no"), r"It could not be woken: http\S* could not answer now"),
    ],
)
def test_one_that_cannot_be_woken_is_reported_and_not_tried_again(reply: tuple[int, Any], said: str) -> None:
    astro = Astro(connection(URL, wake=True), RetryPolicy(attempts=1))
    astro.api.hibernate()
    astro.airflow = lambda request: SLEEPS
    answer_as_usual = astro.api.answer

    def refusing(method: str, *arguments: Any) -> tuple[int, Any]:
        outcome = answer_as_usual(method, *arguments)
        if method == "GET":
            return outcome
        # It has no effect.
        astro.api.override(None)
        return reply

    astro.api.answer = refusing  # type: ignore[method-assign]  # of this one
    for _ in range(2):
        with pytest.raises(RemoteUnavailable, match=said):
            astro.get_pool()
    assert astro.api.woken == 1
    for seconds, woken in ((31, 1 if reply[0] == 403 else 2), (301, 2 if reply[0] == 403 else 3)):
        astro.clock.now += seconds
        with pytest.raises(RemoteUnavailable, match=said):
            astro.get_pool()
        assert astro.api.woken == woken
    assert not [seconds for seconds in astro.clock.sleeps if seconds == 10.0]


def test_a_policy_that_wakes_nothing_holds_after_the_connection_was_read_again() -> None:
    astro = Astro(connection(URL, wake=True), RetryPolicy(attempts=1, wakes=False))
    astro.api.hibernate()
    astro.reloaded = replace(astro.settings, read_timeout=31.0)
    replies = [SLEEPS, plain(401, ""), ok({"version": "3.3.2"})]
    astro.airflow = lambda request: replies.pop()
    with pytest.raises(RemoteUnavailable, match="is hibernating"):
        astro.get_pool()
    assert (astro.reloads, astro.api.woken) == (1, 0)


def test_a_wake_up_that_was_interrupted_is_repeated() -> None:
    astro = Astro(connection(URL, wake=True))
    astro.api.hibernate()
    astro.airflow = lambda request: SLEEPS
    flow = astro.deployment.get_pool("p")
    outcome: Any = None
    while True:
        step = flow.send(outcome)
        if isinstance(step, Request) and step.method == "POST":
            break
        outcome = astro.handle(step) if isinstance(step, Request) else None
    flow.close()
    astro.wake_after(10)
    assert astro.get_pool().name == "p"
    assert astro.api.woken == 1


def test_flows_that_wait_together_wake_it_once() -> None:
    astro = Astro(connection(URL, wake=True))
    astro.wake_after(25)
    flows = [
        Deployment(astro.settings, client=Client(astro.settings, clock=astro.clock)).get_pool("p") for _ in range(40)
    ]
    outcomes: list[Any] = [None] * len(flows)
    done = 0
    while done < len(flows):
        pauses = [0.0]
        for number, flow in enumerate(flows):
            try:
                step = flow.send(outcomes[number]) if outcomes[number] != "done" else None
            except StopIteration:
                outcomes[number], done = "done", done + 1
                continue
            if isinstance(step, Request):
                outcomes[number] = astro.handle(step)
            elif step is not None:
                outcomes[number] = None
                pauses.append(step.seconds)
        astro.clock.now += min(filter(None, pauses), default=0.0)
    assert astro.api.woken == 1
    assert len(astro.api.received) <= 4


def test_a_trigger_that_meets_a_hibernating_deployment_makes_one_run() -> None:
    astro = Astro(connection(URL, wake=True), RetryPolicy(attempts=2))
    astro.get_pool()
    astro.wake_after(30)
    made: list[Any] = []
    asleep = astro.airflow

    def airflow(request: Request) -> Response | TransportError:
        reply = asleep(request)
        assert isinstance(reply, Response)
        if reply.status != 200:
            return reply
        run = {"dag_id": "d", "dag_run_id": "r", "state": "queued", "logical_date": None, "conf": {}}
        if request.method == "POST":
            made.append(request.body)
            return ok(run)
        return answer(404, {"detail": "none"})

    astro.airflow = airflow
    assert astro.run(astro.deployment.trigger_dag_run("d", run_id="r", logical_date=None)).run_id == "r"
    assert len(made) == 1
    assert astro.api.woken == 1


def test_a_poll_does_not_wait_for_it_and_its_failure_does_not_count() -> None:
    astro = Astro(connection(URL, wake=True), RetryPolicy(attempts=2, waits_for_wake=False))
    astro.wake_after(30)
    with pytest.raises(TransientError, match="It was woken") as error:
        astro.get_pool()
    assert error.value.waking
    assert not astro.clock.sleeps
    astro.clock.now += 30
    assert astro.get_pool().name == "p"


def test_a_wait_does_not_end_while_it_wakes_up() -> None:
    failure = RemoteUnavailable("busy")
    failure.waking = True
    ended: list[Any] = []
    waiter = Waiter(WaitTarget("d", run_id="r"), 5.0, ended.append, answered_at=0.0)
    waiter.record_failure(failure, UNREACHABLE_TIMEOUT + 1)
    lines: list[str] = []
    clock = VirtualClock()
    condition = ConditionWaiter(PoolTarget("p"), 5.0, None, lines.append, clock, clock)
    clock.now += UNREACHABLE_TIMEOUT + 1
    assert condition.record(failure) is None
    assert [*ended, *lines] == ["Could not poll the remote, will keep waiting: busy"] * 2
    failure.waking = False
    with pytest.raises(RemoteUnavailable):
        condition.record(failure)
    waiter.record_failure(failure, UNREACHABLE_TIMEOUT + 2)
    assert ended[-1] is failure


# The Test button, and refusals of the Deployment itself


def test_the_test_names_the_deployment() -> None:
    astro = Astro()
    astro.airflow = lambda request: (
        ok({"pools": [], "total_entries": 0}) if request.method == "GET" else answer(404, {"detail": "x"})
    )
    assert astro.run(astro.deployment.describe()).startswith(
        "The Deployment 'etl prod' is healthy in Astro (Airflow 3.3.2). Airflow 3.3.2"
    )
    astro.api.failing = error(401, "no")
    assert "The Astro API does not show the Deployment: The Astro API did not accept" in astro.run(
        astro.deployment.describe()
    )


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (page(401), "It has expired or was deleted, or it has no access to this Deployment"),
        (page(403), "or the Organization has an IP access list without the address"),
    ],
)
def test_a_refusal_of_astros_gateway_is_explained(reply: Response, said: str) -> None:
    astro = Astro()
    astro.airflow = lambda request: reply if request.headers.get("Authorization") else ok({"version": "3.3.2"})
    with pytest.raises(AuthenticationFailed, match=said):
        astro.get_pool()
