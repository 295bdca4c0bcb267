"""`make contract URL=https://… TAG=CSE`: hold a live endpoint to the contract, mostly by what it must refuse.

environment -> Settings -> plan: all requests, built and judged -> printed -> CONFIRM=yes: sent one by one -> report

The requests are few and always the same, not generated: all of them can be shown before any is sent, nothing but the given
IDs can be in them, and for each it can be argued that no service acts on it (`cannot_act`). Nor do schemathesis' checks
judge the answers, since some of them send requests of their own. Operations that only read are left out.
"""

import io
import json
import math
import os
import re
import shlex
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, cast
from urllib.parse import urlsplit

import httpx

from huaweicloud_retry import AkSkAuth, ConfigurationError, IAMError, PasswordAuth, Resend
from huaweicloud_retry.contract import Contract, Match, Operation, WrongMethod
from huaweicloud_retry.credentials import find_credentials
from huaweicloud_retry.endpoints import iam_url, url_problem
from huaweicloud_retry.parsing import UnreadableError, read_json
from huaweicloud_retry.runtime.redaction import Secret, mask, one_line
from huaweicloud_retry_client import Response
from tests.contract.wire import about_any_response

GAP: Final = 0.2
"""Seconds from one request to the next, at least: five a second."""

UNEXPECTED: Final = "unexpected"
NO_VALUE: Final = {UNEXPECTED: UNEXPECTED}
"""What stands in place of a text. An object, which nobody converts to an ID or an action, as some do a number (the place in
a list of values, or 0 == "Retry"), true ("Retry" is true too), a list (of one: its item); not empty, which may count as absent."""

_RESEND = Resend(max_attempts=5)
_TIMEOUT = httpx.Timeout(60, connect=10)
_ID = re.compile(r"[\w-][\w.-]{0,63}", re.ASCII)
# Nothing that tells of another method, or that a service might read in place of the body.
_HEADERS = {"host", "accept", "accept-encoding", "connection", "user-agent", "content-type", "content-length"}
_SECRETS = ("X-Auth-Token", "X-Security-Token", "Authorization")
_UNAUTHORIZED, _THROTTLED = 401, 429
_INTERRUPTED = 130  # the exit code, as a shell has it


class UsageError(Exception):
    """What was asked for will not do. One line; nothing was sent."""


class Stop(Exception):  # noqa: N818 - a decision, not a fault
    """The run ends here; the text says why. `code` is the exit code, `sent` whether the request was."""

    def __init__(self, why: str, code: int = 1, *, sent: bool = True) -> None:
        super().__init__(why)
        self.code = code
        self.sent = sent


class UnauthorizedError(Exception):
    """A 401 to a request that had credentials; raised before an auth flow can send it again with another token."""

    def __init__(self, answer: httpx.Response) -> None:
        super().__init__()
        self.answer = answer


class Settings(NamedTuple):
    """What the environment asks for."""

    url: str
    tag: str
    ids: Mapping[str, str]
    """By their names in the contract."""
    confirmed: bool
    writes: bool


@dataclass(frozen=True)
class Case:
    """A request, and the statuses that the contract has for it."""

    operation: Operation
    title: str
    request: httpx.Request
    expected: tuple[int, ...]
    acts: bool = False
    anonymous: bool = False


class Result(NamedTuple):
    """An answer, and what about it breaks the contract."""

    case: Case
    response: Response[None]
    said: str
    """Status, code and message, in one line, without secrets."""
    problems: list[str]


# --- What is asked for ------------------------------------------------------------------------------------------------


def read_settings(contract: Contract, environ: Mapping[str, str]) -> Settings:
    """Read URL, TAG, CONFIRM, ALLOW_WRITES and the IDs.

    Raises:
        UsageError: one of them is missing or will not do.
    """
    url = environ.get("URL", "").rstrip("/")
    if problem := url_problem(url, allow_http=True):
        raise UsageError(f"URL: {problem}")
    if url_problem(url, allow_http=False):
        raise UsageError("URL: plain http is for this machine only; use https")
    if urlsplit(url).path:
        raise UsageError("URL: scheme and host only, without a path: the contract has the paths")
    tags = sorted({tag for operation in contract.operations for tag in operation.tags})
    tag = environ.get("TAG", "")
    if tag not in tags:
        raise UsageError(
            f"TAG: {f'there is no {one_line(tag)!r}' if tag else 'is missing'}; give {' or '.join(tags)}"
        )
    flags: dict[str, bool] = {}
    for name in ("CONFIRM", "ALLOW_WRITES"):
        flags[name] = environ.get(name) == "yes"
        if environ.get(name, "") not in {"", "yes", "no"}:
            raise UsageError(f"{name}: must be yes or no")
    operations = _operations(contract, tag)
    ids = {
        name: value
        for operation in operations
        for name in (
            *_path_names(operation),
            *_Body(contract, operation).fields,
            *_Body(contract, operation).headers,
        )
        if (value := environ.get(name.upper())) and name.endswith("_id")
    }
    for name, value in ids.items():
        if not _ID.fullmatch(value):
            raise UsageError(f"{name.upper()}: an ID has 1 to 64 letters, digits, -, _ and dots")
    needed = [name for operation in operations for name in _path_names(operation)]
    if missing := [name.upper() for name in dict.fromkeys(needed) if name not in ids]:
        raise UsageError(f"TAG={tag} needs {' and '.join(missing)}: of your own, since no other is used")
    return Settings(url, tag, ids, flags["CONFIRM"], flags["ALLOW_WRITES"])


def _operations(contract: Contract, tag: str) -> list[Operation]:
    return [operation for operation in contract.operations if tag in operation.tags and operation.acts]


def _path_names(operation: Operation) -> list[str]:
    return re.findall(r"\{(\w+)\}", operation.path)


class _Body:
    """What the contract says of a request's body and header parameters, beyond what its checks need."""

    def __init__(self, contract: Contract, operation: Operation) -> None:
        self._document = cast("dict[str, Any]", contract.document)
        item = self._document["paths"][operation.path]
        described = item[operation.method.lower()]
        if "requestBody" not in described:
            raise UsageError(f"{operation.id} has no body: what it must refuse is not known here")
        content = self._follow(described["requestBody"])["content"]
        self.media_type, media = next(iter(content.items()))
        schema = self._follow(media["schema"])
        self.fields: list[str] = list(schema["properties"])
        self.required: set[str] = set(schema.get("required", ()))
        self.examples: list[dict[str, str]] = [
            self._follow(example)["value"] for example in media["examples"].values()
        ]
        parameters = [
            self._follow(each) for each in (*item.get("parameters", ()), *described.get("parameters", ()))
        ]
        named = [each["name"] for each in parameters if each["in"] == "header"]
        self.headers: dict[str, str] = {
            name.removeprefix("X-").replace("-", "_").lower(): name for name in named
        }
        """Of its parameters, by the names that the environment has for them, in small letters."""

    def _follow(self, node: Any) -> Any:
        while "$ref" in node:
            target: Any = self._document
            for step in node["$ref"].split("/")[1:]:
                target = target[step]
            node = target
        return node

    def without_values(self) -> list[tuple[str, str]]:
        """Bodies with an object wherever a text is wanted: in one field, then in all."""
        choices = [{name} for name in self.fields] + [set(self.fields)]
        used = [tuple(name for name in self.fields if name in chosen | self.required) for chosen in choices]
        return [
            (f"an object as {' and '.join(names)}", json.dumps(dict.fromkeys(names, NO_VALUE)))
            for names in dict.fromkeys(used)
        ]


# --- The plan ---------------------------------------------------------------------------------------------------------


def cannot_act(contract: Contract, request: httpx.Request) -> bool:
    """Say whether a request is known to be one that the contract refuses and that no service acts on.

    No service: also none that takes any media type, any letter case and unknown fields, converts numbers, truth values and
    lists of one to what it wants, reads no further than the end of the first JSON value, or takes an absent or null action
    for a Retry. Only one that took text which is no JSON for an absent body as well would act. So known are:
    a GET where the contract has none; and the operation's method with a JSON media type and a body that is
    - one word, which is no JSON;
    - an object that has all required fields, none that the contract does not have, and in each `NO_VALUE`;
    - the same, cut off within its last braces, so that who mends it gets the same.
    """
    found = contract.match(request.method, request.url.path)
    if request.url.query or not set(request.headers) <= _HEADERS:
        return False
    if isinstance(found, WrongMethod):
        return request.method == "GET" and not request.content
    if not isinstance(found, Match):
        return False
    body = _Body(contract, found.operation)
    checked = found.operation.check_request(found.path_params, "", request.headers, request.content)
    if not checked.problems or request.headers.get("Content-Type") not in {
        body.media_type,
        "application/json",
    }:
        return False
    return request.content == UNEXPECTED.encode() or any(
        _has_no_value(request.content + braces, body) for braces in (b"", b"}", b"}}")
    )


def _has_no_value(content: bytes, body: _Body) -> bool:
    try:
        value = read_json(content)
    except UnreadableError:
        return False
    if not isinstance(value, dict) or not body.required <= set(value) <= set(body.fields):
        return False
    return all(part == NO_VALUE for part in value.values())


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
    if unknown := [case.title for case in refused if not cannot_act(contract, case.request)]:
        raise UsageError(f"with this contract these might act, so nothing is sent: {', '.join(unknown)}")
    # No credentials at all: wrong ones would be counted. A request of its own, since auth flows write into theirs.
    first, known = refused[0].operation, refused[0].request
    request = httpx.Request(known.method, known.url, headers=known.headers, content=known.content)
    anonymous = Case(first, "no credentials", request, (_UNAUTHORIZED,), anonymous=True)
    return [*refused, *acting, anonymous]


def _refused(
    contract: Contract, operation: Operation, settings: Settings, client: httpx.Client
) -> Iterator[Case]:
    body, url = _Body(contract, operation), _url(operation, settings)
    bodies = [(title, text, body.media_type) for title, text in body.without_values()]
    whole = bodies[-1][1]
    bodies += [
        ("JSON that is cut off", whole[:-2], body.media_type),
        ("not JSON", UNEXPECTED, body.media_type),
    ]
    if body.media_type != "application/json":
        bodies.append(("the media type that the official SDK sends", whole, "application/json"))
    for title, text, media_type in bodies:
        request = client.build_request(
            operation.method, url, headers={"Content-Type": media_type}, content=text
        )
        yield Case(operation, title, request, (400,))
    if isinstance(contract.match("GET", httpx.URL(url).path), WrongMethod):
        yield Case(
            operation, "GET", client.build_request("GET", url), (404, 405)
        )  # 404 is the gateway's unknown API


def _acting(contract: Contract, operation: Operation, settings: Settings, client: httpx.Client) -> list[Case]:
    body, url = _Body(contract, operation), _url(operation, settings)
    cases: list[Case] = []
    for example in body.examples:
        filled = {
            name: settings.ids.get(name) if name.endswith("_id") else value for name, value in example.items()
        }
        if None in filled.values():
            continue
        given = [
            {header: settings.ids[name]} for name, header in body.headers.items() if name in settings.ids
        ]
        for more in [{}, *given]:
            title = "".join(f", {name}: {value}" for name, value in more.items())
            headers = {"Content-Type": body.media_type, **more}
            request = client.build_request(operation.method, url, headers=headers, content=json.dumps(filled))
            cases.append(Case(operation, f"a retry{title}", request, (200, 400, 404), acts=True))
    if not cases:
        names = sorted(
            {name.upper() for example in body.examples for name in example if name.endswith("_id")}
        )
        raise UsageError(
            f"ALLOW_WRITES=yes: {operation.id} needs {' or '.join(names)}, to know what to retry"
        )
    return cases


def _url(operation: Operation, settings: Settings) -> str:
    return settings.url + operation.path.format(**settings.ids)


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
        acts = "ACTS: " if case.acts else ""
        yield f"  {number:3}. {acts}{case.title}{body}  -> {_or(case.expected)}"
    acting = sum(case.acts for case in cases)
    refused = f"{len(cases) - acting} of them must be refused" if acting else "all of them must be refused"
    requests = f"{len(cases)} requests{' and one to IAM' if iam else ''}"
    yield f"{requests}, one after the other, 5 a second at most: {refused}."
    if acting:
        yield f"{acting} REALLY RETRY, each sent once: work may run again, and run twice."
    yield "A 429 is waited for and the same sent again: the gateway refused it. The run stops at a 401 to a request with"
    yield "credentials, a 2xx to one that must be refused, an unknown outcome of a retry, and when no answer comes."


def _or(statuses: tuple[int, ...]) -> str:
    return " or ".join(map(str, statuses))


def whose(auth: httpx.Auth, settings: Settings, environ: Mapping[str, str]) -> str:
    """Name credentials without what is secret about them."""
    if isinstance(auth, AkSkAuth):
        # Sent nowhere: the one place where the key shows.
        signed = next(auth.auth_flow(httpx.Request("GET", settings.url))).headers
        found = re.search("Access=([^,]{1,4})", signed["Authorization"])
        return f"the access key {found[1] if found else ''}…, which sends X-Project-Id: {settings.ids['project_id']}"
    if isinstance(auth, PasswordAuth):
        name = environ.get("HW_USER_NAME") or environ.get("OS_USERNAME", "")
        return f"the password of user {one_line(name, 100)}, for which IAM gives a token"
    return "a token"


# --- Sending ----------------------------------------------------------------------------------------------------------


class Pace:
    """Lets requests go `GAP` seconds apart: hook of the client, so that those to IAM wait too."""

    def __init__(self, clock: Callable[[], float], sleep: Callable[[float], None]) -> None:
        self._clock = clock
        self._sleep = sleep
        self._next = -math.inf

    def wait(self, _request: httpx.Request) -> None:
        """Return when it may go."""
        now = self._clock()
        if now < self._next:
            self._sleep(self._next - now)
        self._next = max(now, self._next) + GAP


def send_all(
    cases: list[Case], client: httpx.Client, auth: httpx.Auth, sleep: Callable[[float], None]
) -> tuple[list[Result], int]:
    """Send one request after the other, and say what comes; returns all of it, and the exit code if it was stopped."""
    results: list[Result] = []
    for number, case in enumerate(cases, 1):
        if case.acts and any(result.problems for result in results):
            print("STOPPED: an answer breaks the contract, so nothing is retried.")
            return results, 1
        try:
            for result in send(case, client, auth, sleep):
                results.append(result)
                print(
                    f"{number:5}. {'BREAKS THE CONTRACT: ' if result.problems else ''}{result.said}",
                    flush=True,
                )
        except Stop as stop:
            print(f"STOPPED: {stop}." + (f"\n    {curl(case)}" if stop.sent else ""))
            return results, stop.code
        except KeyboardInterrupt:  # while it waited
            print("STOPPED: interrupted.")
            return results, _INTERRUPTED
    return results, 0


def send(
    case: Case, client: httpx.Client, auth: httpx.Auth, sleep: Callable[[float], None]
) -> Iterator[Result]:
    """Send a request, again after a 429.

    Raises:
        Stop: nothing more may be sent.
    """
    attempt = 1
    while True:
        result = _judged(case, _answer(case, client, None if case.anonymous else auth))
        yield result
        response = result.response
        status, error = response.status_code, response.error
        if status == _UNAUTHORIZED and not case.anonymous:
            raise Stop(
                "401, which was not asked for: check the credentials, their region and project, and this machine's clock. "
                "Nothing more was sent, since five wrong signatures lock an access key for five minutes"
            )
        if _is_success(status) and not case.acts:
            raise Stop(
                f"IT MAY HAVE ACTED: {status} to a request that must be refused; look at the job or task"
            )
        if status != _THROTTLED:
            if case.acts and error is not None and error.outcome_unknown:
                raise Stop("the outcome of a retry is unknown: look at the job or task before anything else")
            return
        wait = _RESEND.wait(attempt, response)
        if wait is None:
            raise Stop(f"still 429 after {attempt} attempts, none of which acted: try later")
        print(f"       again in {wait:.1f} s", flush=True)
        sleep(wait)
        attempt += 1


def _is_success(status: int) -> bool:
    return 200 <= status < 300


def _answer(case: Case, client: httpx.Client, auth: httpx.Auth | None) -> httpx.Response:
    may_have_started = (
        "; a retry MAY HAVE STARTED: look at the job or task before anything else" if case.acts else ""
    )
    try:
        return client.send(case.request, auth=auth)
    except UnauthorizedError as error:
        return error.answer
    except IAMError as error:
        raise Stop(one_line(str(error)), sent=False) from None
    except httpx.RequestError as error:
        sent = error.request.url == case.request.url  # or it is IAM that did not answer
        what = f"no answer{'' if sent else ' of IAM'}, {type(error).__name__}: {one_line(str(error))}"
        raise Stop(what + (may_have_started if sent else ""), sent=sent) from None
    except KeyboardInterrupt:
        raise Stop(f"interrupted{may_have_started}", _INTERRUPTED) from None


def stop_at_401(answer: httpx.Response) -> None:
    """Hook of the client: no auth flow gets to see a 401, or it would send the same with another token."""
    if answer.status_code == _UNAUTHORIZED and any(name in answer.request.headers for name in _SECRETS):
        answer.read()
        raise UnauthorizedError(answer)


def _judged(case: Case, answer: httpx.Response) -> Result:
    status, headers, content = _without_secrets(answer)
    # A 401 to credentials says something about them, and a 429 about the load: neither about this request.
    possible = {*case.expected, _UNAUTHORIZED, _THROTTLED}
    problems = [] if status in possible else [f"status: {status}, and not {_or(case.expected)}"]
    problems += [
        one_line(str(problem)) for problem in case.operation.check_response(status, headers, content)
    ]
    problems += [text for _, text in about_any_response(case.operation.error_codes, status, headers, content)]
    problem = problems[0] if problems and _is_success(status) else None
    response = Response[None](status_code=status, headers=headers, content=content, problem=problem)
    said = str(response.error or one_line(f"{status} {content[:200].decode(errors='replace')}"))
    return Result(case, response, said, problems)


def _without_secrets(answer: httpx.Response) -> tuple[int, httpx.Headers, bytes]:
    """Take out of an answer what it quotes of its request, before any text made of it is cut."""
    sent = [answer.request.headers.get(name, "") for name in _SECRETS]
    parts = re.findall("(?:Access|Signature)=([^,]+)", answer.request.headers.get("Authorization", ""))
    headers, content = answer.headers.copy(), answer.content
    for secret in filter(None, [*sent, *parts]):
        content = mask(content, Secret(secret))
        headers.update(
            {name: mask(value.encode(), Secret(secret)).decode() for name, value in headers.items()}
        )
    return answer.status_code, headers, content


# --- The report -------------------------------------------------------------------------------------------------------


def report(cases: list[Case], results: list[Result]) -> Iterator[str]:
    """Put what came into words: for each operation the answers by status, then what breaks the contract."""
    for operation in dict.fromkeys(case.operation.id for case in cases):
        own = [result for result in results if result.case.operation.id == operation]
        planned = sum(case.operation.id == operation for case in cases)
        by_status = Counter(each.response.status_code for each in own)
        answers = ", ".join(f"{count} of {status}" for status, count in sorted(by_status.items()))
        yield f"{operation}: {planned} requests planned; answers: {answers or 'none'}"
    for result in results:
        if result.problems:
            yield f"BREAKS THE CONTRACT: {result.case.operation.id}, {result.case.title}: {result.said}"
            yield from (f"    {problem}" for problem in result.problems)
            yield f"    {curl(result.case)}"


def curl(case: Case) -> str:
    """Return a command that sends the same, with $TOKEN for the credentials."""
    request = case.request
    words = ["curl", "-i", "-X", request.method, str(request.url)]
    for name, value in request.headers.items():
        if name in {"accept", "content-type", "x-enterprise-project-id"}:
            words += ["-H", f"{name}: {value}"]
    if request.content:
        words += ["--data-binary", request.content.decode()]
    return shlex.join(words) + ("" if case.anonymous else ' -H "X-Auth-Token: $TOKEN"')


def main(
    environ: Mapping[str, str] = os.environ,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Run.

    Returns:
        The exit code: 0 all answers keep the contract; 1 one does not, or the run was stopped; 2 nothing was sent;
        130 interrupted.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # services may say what the terminal cannot show
            stream.reconfigure(errors="backslashreplace")
    contract = Contract.load()
    headers = {"Accept": "application/json", "User-Agent": f"huaweicloud-retry/{contract.version} contract"}
    pace = Pace(clock, sleep)
    hooks: dict[str, list[Callable[..., None]]] = {"request": [pace.wait], "response": [stop_at_401]}
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
        results, code = send_all(cases, client, auth, sleep)
    print(*report(cases, results), sep="\n")
    return code or int(any(result.problems for result in results))


if __name__ == "__main__":
    sys.exit(main())
