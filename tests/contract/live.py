"""`make contract URL=https://… TAG=CSE`: test a live endpoint, mostly by what it must refuse.

environment -> Settings -> make_plan: all requests -> printed -> CONFIRM=yes: sent one by one, checked -> report

The requests are a fixed table, so that all can be printed first, and for each one can argue that no service acts
on it. schemathesis is not used: some of its checks send requests of their own.
"""

import io
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx

from huaweicloud_retry import AkSkAuth, ConfigurationError, IAMError, PasswordAuth, Resend
from huaweicloud_retry.contract import Contract, Match, Operation
from huaweicloud_retry.credentials import find_credentials
from huaweicloud_retry.endpoints import iam_url, url_problem
from huaweicloud_retry.runtime.redaction import Secret, mask, one_line
from huaweicloud_retry_client import Response
from tests.contract.curl import curl
from tests.contract.wire import about_any_response

GAP: Final = 0.2  # seconds from one request to the next, at least: five a second
_RESEND = Resend(max_attempts=5)
_TIMEOUT = httpx.Timeout(60, connect=10)
_ID = re.compile(r"[\w-][\w.-]{0,63}", re.ASCII)
_UNAUTHORIZED, _THROTTLED = 401, 429
_INTERRUPTED = 130  # the exit code, as a shell has it
_JSON, _UTF8 = "application/json", "application/json;charset=UTF-8"


class Row(NamedTuple):
    """A planned request. `needs`: the ID that replaces $ID in the body, or is sent in `header`."""

    title: str
    body: str = ""
    media_type: str = _JSON
    expected: tuple[int, ...] = (400,)
    method: str = ""
    needs: str = ""
    header: str = ""

    @property
    def acts(self) -> bool:
        """It is a valid retry."""
        return self.expected == _ACCEPTED


# Each refused body has an object in place of each text. No service converts an object to an ID or an action, as some
# do a number (0 == "Retry"), true or a list of one. It is not empty, since that may count as absent. JSON is cut off
# within the last braces: a service that repairs it reads the same object. No required field is left out, since an
# absent action may mean a retry.
_NO_VALUE = '{"unexpected": "unexpected"}'
_ACTION, _RETRY = f'{{"action": {_NO_VALUE}}}', '{"action": "Retry"}'
_RECORD, _TASK = f'{{"record_id": {_NO_VALUE}}}', f'{{"task_id": {_NO_VALUE}}}'
_BOTH = f"{_RECORD[:-1]}, {_TASK[1:]}"
_ACCEPTED, _ANONYMOUS = (200, 400, 404), (401,)
_GET = Row("GET", method="GET", expected=(404, 405))  # 404 is the gateway's unknown API
_PROJECT = "enterprise_project_id"
# The last one has no credentials: wrong ones would be counted.
TABLE: Final[Mapping[str, tuple[Row, ...]]] = {
    "RetryEngine": (
        Row("an object as action", _ACTION, _UTF8),
        Row("JSON that is cut off", _ACTION[:-2], _UTF8),
        Row("not JSON", "unexpected", _UTF8),
        Row("the media type that the official SDK sends", _ACTION),
        _GET,
        Row("a retry", _RETRY, _UTF8, _ACCEPTED),
        Row("a retry", _RETRY, _UTF8, _ACCEPTED, needs=_PROJECT, header="X-Enterprise-Project-ID"),
        Row("no credentials", _ACTION, _UTF8, _ANONYMOUS),
    ),
    "RetryScriptExecution": (
        Row("an object as record_id", _RECORD),
        Row("an object as task_id", _TASK),
        Row("an object as record_id and task_id", _BOTH),
        Row("JSON that is cut off", _BOTH[:-2]),
        Row("not JSON", "unexpected"),
        _GET,
        Row("a retry", '{"record_id": "$ID"}', expected=_ACCEPTED, needs="record_id"),
        Row("a retry", '{"task_id": "$ID"}', expected=_ACCEPTED, needs="task_id"),
        Row("no credentials", _RECORD, expected=_ANONYMOUS),
    ),
}


class Stop(Exception):  # noqa: N818 - a decision, not a fault
    """The run ends here: why."""


class Settings(NamedTuple):
    """What the environment asks for; `ids` by their names in the contract."""

    url: str
    operation: Operation
    ids: Mapping[str, str]
    writes: bool


class Case(NamedTuple):
    """A row as a request, and as a line for the shell."""

    operation: Operation
    row: Row
    request: httpx.Request
    curl: str


def read_settings(contract: Contract, environ: Mapping[str, str]) -> Settings:
    """Read URL, TAG, CONFIRM, ALLOW_WRITES and the IDs.

    Raises:
        ConfigurationError: one of them is missing or invalid.
    """
    url, tag = environ.get("URL", "").rstrip("/"), environ.get("TAG", "")
    if problem := url_problem(url, allow_http=True):
        raise ConfigurationError(f"URL: {problem}")
    operations = {each.tags[0]: each for each in contract.operations if each.id in TABLE}
    tags = " or ".join(sorted(operations))
    checks = {
        "URL: plain http is for this machine only; use https": not url_problem(url, allow_http=False),
        "URL: scheme and host only, without a path: the contract has the paths": httpx.URL(url).path == "/",
        f"TAG: is missing; give {tags}": tag,
        f"TAG: there is no {one_line(tag)!r}; give {tags}": tag in operations,
    }
    for name in ("CONFIRM", "ALLOW_WRITES"):
        checks[f"{name}: must be yes or no"] = environ.get(name, "") in {"", "yes", "no"}
    _require(checks)
    operation, writes = operations[tag], environ.get("ALLOW_WRITES") == "yes"
    needed: list[str] = re.findall(r"\{(\w+)\}", operation.path)
    choices = [row.needs for row in TABLE[operation.id] if row.acts]
    ids = {name: environ.get(name.upper(), "") for name in (*needed, *filter(None, choices))}
    wrong = "an ID has 1 to 64 letters, digits, -, _ and dots"
    checks = {f"{name.upper()}: {wrong}": not value or _ID.fullmatch(value) for name, value in ids.items()}
    missing = [name.upper() for name in needed if not ids[name]]
    checks[f"TAG={tag} needs {' and '.join(missing)}: of your own, since no other is used"] = not missing
    wanted = f"{operation.id} needs {' or '.join(map(str.upper, choices))}, to know what to retry"
    checks[f"ALLOW_WRITES=yes: {wanted}"] = not writes or any(not name or ids[name] for name in choices)
    _require(checks)
    return Settings(url, operation, ids, writes)


def _require(checks: Mapping[str, object]) -> None:
    """Raise the first error whose check failed."""
    for problem, passed in checks.items():
        if not passed:
            raise ConfigurationError(problem)


def make_plan(contract: Contract, settings: Settings, client: httpx.Client) -> list[Case]:
    """Build all requests of the table that the settings allow.

    Raises:
        ConfigurationError: with this contract, one that must be refused is valid.
    """
    cases: list[Case] = []
    path = settings.operation.path.format(**settings.ids)
    more: Any = {"extensions": {"project_id": settings.ids["project_id"]}}  # for the credentials
    for row in TABLE[settings.operation.id]:
        id_ = settings.ids.get(row.needs, "")
        if row.acts and (not settings.writes or (row.needs and not id_)):
            continue
        method, content = row.method or settings.operation.method, row.body.replace("$ID", id_)
        headers = {"Accept": _JSON} | ({"Content-Type": row.media_type} if content else {})
        headers |= {row.header: id_} if row.header else {}
        request = client.build_request(method, settings.url + path, headers=headers, content=content, **more)
        if not row.acts and _is_valid(contract, request):
            raise ConfigurationError(f"with this contract this might act, so nothing is sent: {row.title}")
        shown = headers | ({} if row.expected == _ANONYMOUS else {"X-Auth-Token": "<token>"})
        line = curl(method, path, shown, content.encode(), token="<token>")
        cases.append(Case(settings.operation, row, request, line))
    return cases


def _is_valid(contract: Contract, request: httpx.Request) -> bool:
    found = contract.match(request.method, request.url.path)
    return isinstance(found, Match) and not (
        found.operation.check_request(found.path_params, "", request.headers, request.content).problems
    )


def describe(cases: list[Case], settings: Settings, auth: httpx.Auth, iam: str) -> Iterator[str]:
    """Describe the plan. `iam`: where a token comes from, if not from the environment."""
    project = settings.ids["project_id"]
    key = f"an access key, which sends X-Project-Id: {project}" if isinstance(auth, AkSkAuth) else "a token"
    yield f"{settings.operation.id} at URL={settings.url}, with {f'a token from {iam}' if iam else key}:"
    for number, case in enumerate(cases, 1):
        yield f"{number:3}. {'ACTS: ' if case.row.acts else ''}{case.row.title} -> {_or(case.row.expected)}"
        yield f"     {case.curl}"
    acting = sum(case.row.acts for case in cases)
    yield f"{len(cases)} requests, 5 a second at most: {len(cases) - acting} must be refused."
    if acting:
        yield f"{acting} REALLY RETRY, each sent once: work may run again, and run twice."


def _or(statuses: tuple[int, ...]) -> str:
    return " or ".join(map(str, statuses))


class Run:
    """Sends the requests, and counts the responses."""

    def __init__(
        self,
        client: httpx.Client,
        auth: httpx.Auth,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self._client, self._auth, self._clock, self._sleep, self._next = client, auth, clock, sleep, clock()
        client.event_hooks = {"request": [self._wait]}  # so that requests to IAM wait too
        self.statuses = Counter[int]()
        self.broken: list[str] = []  # lines about responses that break the contract

    def _wait(self, _request: httpx.Request) -> None:
        """Keep requests `GAP` seconds apart."""
        now = self._clock()
        if now < self._next:
            self._sleep(self._next - now)
        self._next = max(now, self._next) + GAP

    def send_all(self, cases: list[Case]) -> int:
        """Send one request after the other; return the exit code if it is stopped, or 0."""
        for number, case in enumerate(cases, 1):
            started = "; a retry MAY HAVE STARTED: look at the job or task first" if case.row.acts else ""
            code = 1
            try:
                self._send(number, case)
            except (Stop, IAMError) as stop:
                why = one_line(str(stop))
            except httpx.RequestError as error:
                what = f"{type(error).__name__}: {one_line(str(error))}"
                of_iam = error.request is not case.request  # so the retry was not sent
                why = f"no response of IAM, {what}" if of_iam else f"no response, {what}{started}"
            except KeyboardInterrupt:
                why, code = f"interrupted{started}", _INTERRUPTED
            else:
                continue
            print(f"STOPPED at {number}.: {why}.")
            return code
        return 0

    def _send(self, number: int, case: Case) -> None:
        if case.row.acts and self.broken:
            raise Stop("a response breaks the contract, so nothing is retried")
        for attempt in range(1, _RESEND.max_attempts + 1):
            response, problems = judged(case, self._response(case))
            text = f"{response.status_code} {response.content[:200].decode(errors='replace')}"
            line = f"{number}. {case.row.title}: {response.error or one_line(text)}"
            print(line, flush=True)
            self.statuses[response.status_code] += 1
            if problems:
                self.broken += [f"BREAKS THE CONTRACT: {line}", *(f"     {each}" for each in problems)]
            _stop_if_needed(case.row, response)
            if response.status_code != _THROTTLED:
                return
            self._sleep(_RESEND.wait(attempt, response) or 0)
        raise Stop(f"still 429 after {_RESEND.max_attempts} attempts, none of which was processed: try later")

    def _response(self, case: Case) -> httpx.Response:
        if case.row.expected != _ANONYMOUS:
            # The auth flow is left as soon as the request is ready: it sees no 401, or it would resend.
            flow = self._auth.sync_auth_flow(case.request)
            request = next(flow)
            while request is not case.request:  # but one to IAM
                request = flow.send(self._client.send(request, auth=None))
        return self._client.send(case.request, auth=None)


def _stop_if_needed(row: Row, response: Response[None]) -> None:
    status, error = response.status_code, response.error
    if status == _UNAUTHORIZED and row.expected != _ANONYMOUS:
        # Five wrong signatures lock an access key for five minutes.
        raise Stop("401 to credentials: check them, their region and project, and this machine's clock")
    if 200 <= status < 300 and not row.acts:
        raise Stop(f"IT MAY HAVE ACTED: {status} to a request that must be refused; look at the job or task")
    if row.acts and error is not None and error.outcome_unknown:
        raise Stop("the outcome of a retry is unknown: look at the job or task first")


def judged(case: Case, received: httpx.Response) -> tuple[Response[None], list[str]]:
    """Return a response without the secrets of its request, and what breaks the contract."""
    sent, headers, content = received.request.headers, received.headers.copy(), received.content
    secrets = [sent.get(name, "") for name in ("X-Auth-Token", "X-Security-Token", "Authorization")]
    secrets += re.findall("(?:Access|Signature)=([^,]+)", secrets[-1])
    for secret in map(Secret[str], filter(None, secrets)):  # before any text made of it is cut
        content = mask(content, secret)
        headers.update({name: mask(value.encode(), secret).decode() for name, value in headers.items()})
    status = received.status_code
    # A 401 to credentials says something about them, and a 429 about the load: neither about this request.
    possible = {*case.row.expected, _UNAUTHORIZED, _THROTTLED}
    problems = [] if status in possible else [f"status: {status}, and not {_or(case.row.expected)}"]
    problems += [one_line(str(each)) for each in case.operation.check_response(status, headers, content)]
    problems += [text for _, text in about_any_response(case.operation.error_codes, status, headers, content)]
    problem = problems[0] if problems and 200 <= status < 300 else None
    return Response(status_code=status, headers=headers, content=content, problem=problem), problems


def main(
    environ: Mapping[str, str] = os.environ,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Run; return the exit code that docs/contract-testing.md has."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # services may say what the terminal cannot show
            stream.reconfigure(errors="backslashreplace")
    contract = Contract.load()
    agent = {"User-Agent": f"huaweicloud-retry/{contract.version} contract"}
    with httpx.Client(timeout=_TIMEOUT, headers=agent) as client:
        try:
            settings = read_settings(contract, environ)
            auth = find_credentials(None, environ, Path.home())
            cases = make_plan(contract, settings, client)
            iam = iam_url(None, environ) if isinstance(auth, PasswordAuth) else ""
        except ConfigurationError as error:
            print(f"make contract: {error}; nothing was sent", file=sys.stderr)
            return 2
        print(*describe(cases, settings, auth, iam), sep="\n")
        if environ.get("CONFIRM") != "yes":
            print("Nothing was sent. To send these, add CONFIRM=yes")
            return 2
        run = Run(client, auth, clock, sleep)
        code = run.send_all(cases)
    responses = ", ".join(f"{count} of {status}" for status, count in sorted(run.statuses.items()))
    print(f"{len(cases)} requests planned; responses: {responses or 'none'}", *run.broken, sep="\n")
    return code or int(bool(run.broken))


if __name__ == "__main__":
    sys.exit(main())
