"""`make contract URL=https://… TAG=CSE`: hold a live endpoint to the contract, mostly by what it must refuse.

environment -> Settings -> plan: all requests -> printed -> CONFIRM=yes: sent one by one, checked -> report

The requests are few and always the same, not generated: all of them can be printed before any is sent, they contain no
IDs but the given ones, and for each it can be argued that no service acts on it (`_Body.to_refuse`). schemathesis' checks
are not used, since some of them send requests of their own. Operations that only read are left out.
"""

import io
import json
import os
import re
import shlex
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx

from huaweicloud_retry import AkSkAuth, ConfigurationError, IAMError, PasswordAuth, Resend
from huaweicloud_retry.contract import Contract, Match, Operation, WrongMethod
from huaweicloud_retry.credentials import find_credentials
from huaweicloud_retry.endpoints import iam_url, url_problem
from huaweicloud_retry.runtime.redaction import Secret, mask, one_line
from huaweicloud_retry_client import Response
from tests import spec_checks
from tests.contract.wire import about_any_response

GAP: Final = 0.2  # seconds from one request to the next, at least: five a second
UNEXPECTED: Final = "unexpected"
NO_VALUE: Final = {UNEXPECTED: UNEXPECTED}
"""Sent in place of a text. An object, which no service converts to an ID or an action, as some do a number (an index, or
0 == "Retry"), true ("Retry" is true too) or a list (of one: its item); not empty, which may count as absent."""

_RESEND = Resend(max_attempts=5)
_TIMEOUT = httpx.Timeout(60, connect=10)
_ID = re.compile(r"[\w-][\w.-]{0,63}", re.ASCII)
_SECRETS = ("X-Auth-Token", "X-Security-Token", "Authorization")
_UNAUTHORIZED, _THROTTLED = 401, 429
_INTERRUPTED = 130  # the exit code, as a shell has it


class UsageError(Exception):
    """The settings are invalid. One line; nothing was sent."""


class Stop(Exception):  # noqa: N818 - a decision, not a fault
    """The run ends here: why. `code` is the exit code, `curl` the request, if one was sent."""

    def __init__(self, why: str, code: int = 1, curl: str = "") -> None:
        super().__init__(f"{why}." + (f"\n    {curl}" if curl else ""))
        self.code = code


class Settings(NamedTuple):
    """What the environment asks for; `ids` by their names in the contract."""

    url: str
    tag: str
    ids: Mapping[str, str]
    confirmed: bool
    writes: bool


class Case(NamedTuple):
    """A request, and the statuses that the contract has for it."""

    operation: Operation
    title: str
    request: httpx.Request
    expected: tuple[int, ...]
    acts: bool = False
    anonymous: bool = False

    @property
    def curl(self) -> str:
        """A command that sends the same, with $TOKEN for the credentials."""
        request = self.request
        words = ["curl", "-i", "-X", request.method, str(request.url)]
        for name in ("accept", "content-type", "x-enterprise-project-id"):
            words += ["-H", f"{name}: {request.headers[name]}"] if name in request.headers else []
        words += ["--data-binary", request.content.decode()] if request.content else []
        return shlex.join(words) + ("" if self.anonymous else ' -H "X-Auth-Token: $TOKEN"')


class Result(NamedTuple):
    """A response; its status, code and message in one line without secrets; what breaks the contract."""

    case: Case
    response: Response[None]
    said: str
    problems: list[str]


# --- Settings -----------------------------------------------------------------------------------------------


def read_settings(contract: Contract, environ: Mapping[str, str]) -> Settings:
    """Read URL, TAG, CONFIRM, ALLOW_WRITES and the IDs.

    Raises:
        UsageError: one of them is missing or invalid.
    """
    url, tag = environ.get("URL", "").rstrip("/"), environ.get("TAG", "")
    if problem := url_problem(url, allow_http=True):
        raise UsageError(f"URL: {problem}")
    if url_problem(url, allow_http=False):
        raise UsageError("URL: plain http is for this machine only; use https")
    if httpx.URL(url).path != "/":
        raise UsageError("URL: scheme and host only, without a path: the contract has the paths")
    tags = sorted({each for operation in contract.operations for each in operation.tags})
    if tag not in tags:
        wrong = f"there is no {one_line(tag)!r}" if tag else "is missing"
        raise UsageError(f"TAG: {wrong}; give {' or '.join(tags)}")
    for name in ("CONFIRM", "ALLOW_WRITES"):
        if environ.get(name, "") not in {"", "yes", "no"}:
            raise UsageError(f"{name}: must be yes or no")
    operations = _operations(contract, tag)
    needed = dict.fromkeys(name for operation in operations for name in _path_names(operation))
    bodies = [_Body(contract, operation) for operation in operations]
    named = [name for body in bodies for name in (*body.fields, *body.headers) if name.endswith("_id")]
    ids = {name: value for name in (*needed, *named) if (value := environ.get(name.upper()))}
    for name, value in ids.items():
        if not _ID.fullmatch(value):
            raise UsageError(f"{name.upper()}: an ID has 1 to 64 letters, digits, -, _ and dots")
    if missing := [name.upper() for name in needed if name not in ids]:
        raise UsageError(f"TAG={tag} needs {' and '.join(missing)}: of your own, since no other is used")
    return Settings(url, tag, ids, environ.get("CONFIRM") == "yes", environ.get("ALLOW_WRITES") == "yes")


def _operations(contract: Contract, tag: str) -> list[Operation]:
    return [operation for operation in contract.operations if tag in operation.tags and operation.acts]


def _path_names(operation: Operation) -> list[str]:
    return re.findall(r"\{(\w+)\}", operation.path)


class _Body:
    """What the contract has about a request's body and header parameters, beyond what its checks need."""

    def __init__(self, contract: Contract, operation: Operation) -> None:
        document: Any = contract.document
        follow = partial(spec_checks.resolved, document)
        item = document["paths"][operation.path]
        described = item[operation.method.lower()]
        if "requestBody" not in described:
            raise UsageError(f"{operation.id} has no body: what it must refuse is not known here")
        self.media_type, media = next(iter(follow(described["requestBody"])["content"].items()))
        schema = follow(media["schema"])
        self.fields: list[str] = list(schema["properties"])
        self.required: set[str] = set(schema.get("required", ()))
        self.examples = [follow(example)["value"] for example in media["examples"].values()]
        given = [*item.get("parameters", ()), *described.get("parameters", ())]
        named = [each["name"] for each in map(follow, given) if each["in"] == "header"]
        self.headers = {name.removeprefix("X-").replace("-", "_").lower(): name for name in named}
        """Of its parameters, by the names that the environment has for them, in lower case."""

    def to_refuse(self) -> Iterator[tuple[str, str]]:
        """Bodies that the contract refuses and that no service acts on, with their titles.

        No service: also none that takes any media type, any letter case and unknown fields, converts numbers, truth values
        and lists of one to what it wants, reads no further than the end of the first JSON value, or takes an absent or
        null action for a Retry. Only one that took text which is no JSON for an absent body would act. So a body has all
        required fields, no unknown ones, and in each `NO_VALUE`; or it is that, cut off within its last braces, so that
        who mends it gets the same; or it is one word, which is no JSON.
        """
        choices = [*({name} for name in self.fields), set(self.fields)]
        used = [tuple(name for name in self.fields if name in chosen | self.required) for chosen in choices]
        for names in dict.fromkeys(used):
            yield f"an object as {' and '.join(names)}", json.dumps(dict.fromkeys(names, NO_VALUE))
        yield "JSON that is cut off", json.dumps(dict.fromkeys(used[-1], NO_VALUE))[:-2]
        yield "not JSON", UNEXPECTED


# --- The plan -----------------------------------------------------------------------------------------------


def make_plan(contract: Contract, settings: Settings, client: httpx.Client) -> list[Case]:
    """Build all requests: those to be refused, those that act if asked for, one without credentials at the end.

    Raises:
        UsageError: an ID is missing for those that act.
    """
    refused: list[Case] = []
    acting: list[Case] = []
    for operation in _operations(contract, settings.tag):
        refused += _refused(contract, operation, settings, client)
        acting += _acting(contract, operation, settings, client) if settings.writes else []
    if valid := [case.title for case in refused if _is_valid(contract, case.request)]:
        raise UsageError(f"with this contract these might act, so nothing is sent: {', '.join(valid)}")
    # No credentials at all: wrong ones would be counted. A request of its own, since auth flows write into theirs.
    known = refused[0].request
    request = httpx.Request(known.method, known.url, headers=known.headers, content=known.content)
    return [*refused, *acting, Case(refused[0].operation, "no credentials", request, (401,), anonymous=True)]


def _is_valid(contract: Contract, request: httpx.Request) -> bool:
    found = contract.match(request.method, request.url.path)
    if not isinstance(found, Match):
        return False
    return not found.operation.check_request(found.path_params, "", request.headers, request.content).problems


def _refused(
    contract: Contract, operation: Operation, settings: Settings, client: httpx.Client
) -> Iterator[Case]:
    body, url = _Body(contract, operation), settings.url + operation.path.format(**settings.ids)
    bodies = [(title, text, body.media_type) for title, text in body.to_refuse()]
    if body.media_type != "application/json":
        title = "the media type that the official SDK sends"
        bodies.append((title, bodies[-3][1], "application/json"))
    for title, text, kind in bodies:
        request = client.build_request(operation.method, url, headers={"Content-Type": kind}, content=text)
        yield Case(operation, title, request, (400,))
    if isinstance(contract.match("GET", httpx.URL(url).path), WrongMethod):
        # 404 is the gateway's unknown API
        yield Case(operation, "GET", client.build_request("GET", url), (404, 405))


def _acting(contract: Contract, operation: Operation, settings: Settings, client: httpx.Client) -> list[Case]:
    body, ids = _Body(contract, operation), settings.ids
    url = settings.url + operation.path.format(**ids)
    cases: list[Case] = []
    for example in body.examples:
        filled = {name: ids.get(name) if name.endswith("_id") else value for name, value in example.items()}
        if None in filled.values():
            continue
        for more in [{}, *({header: ids[name]} for name, header in body.headers.items() if name in ids)]:
            title = "".join(f", {name}: {value}" for name, value in more.items())
            headers = {"Content-Type": body.media_type, **more}
            request = client.build_request(operation.method, url, headers=headers, content=json.dumps(filled))
            cases.append(Case(operation, f"a retry{title}", request, (200, 400, 404), acts=True))
    if not cases:
        names = {name.upper() for example in body.examples for name in example if name.endswith("_id")}
        wanted = " or ".join(sorted(names))
        raise UsageError(f"ALLOW_WRITES=yes: {operation.id} needs {wanted}, to know what to retry")
    return cases


def describe(cases: list[Case], settings: Settings, credentials: str, iam: str) -> Iterator[str]:
    """Put the plan into words. `iam`: where a token comes from, if not from the environment."""
    yield f"To {settings.url}, as {settings.tag}, with {credentials}:"
    if iam:
        yield f"  POST {iam}/v3/auth/tokens, with user and password: a token, before the first"
    target = ""
    for number, case in enumerate(cases, 1):
        to = f"{case.operation.id}: {case.operation.method} {case.request.url.path}"
        if to != target:
            yield f"  {to}"
            target = to
        text = case.request.content.decode()
        body = f", {case.request.headers['Content-Type']}: {text}" if text else ""
        yield f"  {number:3}. {'ACTS: ' if case.acts else ''}{case.title}{body}  -> {_or(case.expected)}"
    acting = sum(case.acts for case in cases)
    refused = f"{len(cases) - acting} of them must be refused" if acting else "all of them must be refused"
    requests = f"{len(cases)} requests{' and one to IAM' if iam else ''}"
    yield f"{requests}, one after the other, 5 a second at most: {refused}."
    if acting:
        yield f"{acting} REALLY RETRY, each sent once: work may run again, and run twice."
    yield "A 429 is waited for and the same is resent: the gateway refused it. The run stops at a 401 to a request with"
    yield "credentials, a 2xx to one that must be refused, an unknown outcome of a retry, and without a response."


def _or(statuses: tuple[int, ...]) -> str:
    return " or ".join(map(str, statuses))


def whose(auth: httpx.Auth, settings: Settings, environ: Mapping[str, str]) -> str:
    """Name credentials without what is secret about them."""
    if isinstance(auth, AkSkAuth):
        # Sent nowhere: the one place where the key shows.
        signed = next(auth.auth_flow(httpx.Request("GET", settings.url))).headers["Authorization"]
        key = re.findall("Access=([^,]{1,4})|$", signed)[0]
        return f"the access key {key}…, which sends X-Project-Id: {settings.ids['project_id']}"
    if isinstance(auth, PasswordAuth):
        name = environ.get("HW_USER_NAME") or environ.get("OS_USERNAME", "")
        return f"the password of user {one_line(name, 100)}, for which IAM gives a token"
    return "a token"


# --- Sending ------------------------------------------------------------------------------------------------


class RateLimiter:
    """Sends requests `GAP` seconds apart: a hook of the client, so that those to IAM wait too."""

    def __init__(self, clock: Callable[[], float], sleep: Callable[[float], None]) -> None:
        self._clock, self._sleep, self._next = clock, sleep, clock()

    def wait(self, _request: httpx.Request) -> None:
        """Return when it may be sent."""
        now = self._clock()
        if now < self._next:
            self._sleep(self._next - now)
        self._next = max(now, self._next) + GAP


class Run:
    """Sends the requests, and keeps the results."""

    def __init__(self, client: httpx.Client, auth: httpx.Auth, sleep: Callable[[float], None]) -> None:
        self._client, self._auth, self._sleep = client, auth, sleep
        self.results: list[Result] = []

    def send_all(self, cases: list[Case]) -> int:
        """Send one request after the other, and print what comes; returns the exit code if it is stopped, or 0."""
        try:
            for number, case in enumerate(cases, 1):
                self._send(number, case)
        except Stop as stop:
            print(f"STOPPED: {stop}")
            return stop.code
        except KeyboardInterrupt:  # while it waited
            print("STOPPED: interrupted.")
            return _INTERRUPTED
        return 0

    def _send(self, number: int, case: Case) -> None:
        """Send a request, again after a 429.

        Raises:
            Stop: nothing more may be sent.
        """
        if case.acts and any(result.problems for result in self.results):
            raise Stop("a response breaks the contract, so nothing is retried")
        wait: float | None = 0.0
        attempt = 0
        while wait is not None:
            if attempt:
                print(f"       again in {wait:.1f} s", flush=True)
                self._sleep(wait)
            attempt += 1
            result = judged(case, self._response(case))
            self.results.append(result)
            broken = "BREAKS THE CONTRACT: " if result.problems else ""
            print(f"{number:5}. {broken}{result.said}", flush=True)
            _stop_if_needed(result)
            if result.response.status_code != _THROTTLED:
                return
            wait = _RESEND.wait(attempt, result.response)
        raise Stop(f"still 429 after {attempt} attempts, none of which acted: try later", 1, case.curl)

    def _response(self, case: Case) -> httpx.Response:
        may = "; a retry MAY HAVE STARTED: look at the job or task before anything else" if case.acts else ""
        request = case.request
        try:
            if not case.anonymous:
                # The auth flow is left as soon as it has the request ready: it sees no 401, or it would resend.
                flow = self._auth.sync_auth_flow(request)
                request = next(flow)
                while request is not case.request:  # but one to IAM
                    request = flow.send(self._client.send(request, auth=None))
            return self._client.send(request, auth=None)
        except IAMError as error:
            raise Stop(one_line(str(error))) from None
        except httpx.RequestError as error:
            what = f"{type(error).__name__}: {one_line(str(error))}"
            if request is not case.request:
                raise Stop(f"no response of IAM, {what}") from None
            raise Stop(f"no response, {what}{may}", 1, case.curl) from None
        except KeyboardInterrupt:
            raise Stop(f"interrupted{may}", _INTERRUPTED, case.curl) from None


def _stop_if_needed(result: Result) -> None:
    case, status, error = result.case, result.response.status_code, result.response.error
    why = ""
    if status == _UNAUTHORIZED and not case.anonymous:
        why = (
            "401, which was not asked for: check the credentials, their region and project, and this machine's clock. "
            "Nothing more was sent, since five wrong signatures lock an access key for five minutes"
        )
    elif 200 <= status < 300 and not case.acts:
        why = f"IT MAY HAVE ACTED: {status} to a request that must be refused; look at the job or task"
    elif case.acts and error is not None and error.outcome_unknown:
        why = "the outcome of a retry is unknown: look at the job or task before anything else"
    if why:
        raise Stop(why, 1, case.curl)


def judged(case: Case, received: httpx.Response) -> Result:
    """Hold a response to the contract."""
    status, headers, content = _without_secrets(received)
    # A 401 to credentials says something about them, and a 429 about the load: neither about this request.
    possible = {*case.expected, _UNAUTHORIZED, _THROTTLED}
    problems = [] if status in possible else [f"status: {status}, and not {_or(case.expected)}"]
    problems += [one_line(str(each)) for each in case.operation.check_response(status, headers, content)]
    problems += [text for _, text in about_any_response(case.operation.error_codes, status, headers, content)]
    problem = problems[0] if problems and 200 <= status < 300 else None
    response = Response[None](status_code=status, headers=headers, content=content, problem=problem)
    said = str(response.error or one_line(f"{status} {content[:200].decode(errors='replace')}"))
    return Result(case, response, said, problems)


def _without_secrets(received: httpx.Response) -> tuple[int, httpx.Headers, bytes]:
    """Remove from a response what it quotes of its request, before any text made of it is cut."""
    sent = [received.request.headers.get(name, "") for name in _SECRETS]
    headers, content = received.headers.copy(), received.content
    for secret in filter(None, [*sent, *re.findall("(?:Access|Signature)=([^,]+)", sent[-1])]):
        content = mask(content, Secret(secret))
        masked = {name: mask(value.encode(), Secret(secret)).decode() for name, value in headers.items()}
        headers.update(masked)
    return received.status_code, headers, content


def report(cases: list[Case], results: list[Result]) -> Iterator[str]:
    """Put the results into words: for each operation the responses by status, then what breaks the contract."""
    for operation in dict.fromkeys(case.operation.id for case in cases):
        planned = sum(case.operation.id == operation for case in cases)
        own = [each.response.status_code for each in results if each.case.operation.id == operation]
        responses = ", ".join(f"{count} of {status}" for status, count in sorted(Counter(own).items()))
        yield f"{operation}: {planned} requests planned; responses: {responses or 'none'}"
    for result in results:
        if result.problems:
            yield f"BREAKS THE CONTRACT: {result.case.operation.id}, {result.case.title}: {result.said}"
            yield from (f"    {line}" for line in (*result.problems, result.case.curl))


def main(
    environ: Mapping[str, str] = os.environ,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Run.

    Returns:
        The exit code: 0 all responses keep the contract; 1 one does not, or the run was stopped; 2 nothing was sent;
        130 interrupted.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # services may say what the terminal cannot show
            stream.reconfigure(errors="backslashreplace")
    contract = Contract.load()
    headers = {"Accept": "application/json", "User-Agent": f"huaweicloud-retry/{contract.version} contract"}
    hooks: Any = {"request": [RateLimiter(clock, sleep).wait]}
    with httpx.Client(timeout=_TIMEOUT, headers=headers, event_hooks=hooks) as client:
        try:
            settings = read_settings(contract, environ)
            auth = find_credentials(None, environ, Path.home())
            cases = make_plan(contract, settings, client)
            for case in cases:  # as the generated client does, for the credentials
                case.request.extensions["project_id"] = settings.ids["project_id"]
            credentials = whose(auth, settings, environ)
            iam = iam_url(None, environ) if isinstance(auth, PasswordAuth) else ""
        except (UsageError, ConfigurationError) as error:
            print(f"make contract: {error}; nothing was sent", file=sys.stderr)
            return 2
        print(*describe(cases, settings, credentials, iam), sep="\n")
        if not settings.confirmed:
            print("Nothing was sent. To send these, add CONFIRM=yes")
            return 2
        run = Run(client, auth, sleep)
        code = run.send_all(cases)
    print(*report(cases, run.results), sep="\n")
    return code or int(any(result.problems for result in run.results))


if __name__ == "__main__":
    sys.exit(main())
