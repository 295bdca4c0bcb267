"""`make contract URL=https://… TAG=CSE`: test a live endpoint, mostly by what it must refuse.

environment -> Settings -> make_plan: all requests -> printed -> CONFIRM=yes: sent in turn, checked -> report

The requests are a fixed table: all are printed first, and for each one can argue that no service acts on it.
schemathesis is not used: some of its checks send requests of their own.
"""

import io
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

import httpx

from huaweicloud_retry import ConfigurationError, IAMError, Resend
from huaweicloud_retry.contract import Contract, Operation
from huaweicloud_retry.credentials import find_credentials
from huaweicloud_retry.endpoints import url_problem
from huaweicloud_retry.runtime.errors import succeeds
from huaweicloud_retry.runtime.redaction import Secret, mask, one_line
from huaweicloud_retry_client import Response
from tests.contract.curl import curl
from tests.contract.wire import about_any_response

CONTRACT: Final = Contract.load()
GAP: Final = 0.2  # seconds before each request: five a second at most
_RESEND = Resend(max_attempts=5)
_ID = re.compile(r"[\w-][\w.-]{0,63}", re.ASCII)
_JSON, _UTF8 = "application/json", "application/json;charset=UTF-8"


class Row(NamedTuple):
    """A planned request. `needs`: the ID that replaces $ID in the body."""

    title: str
    body: str = ""
    media_type: str = _JSON
    expected: tuple[int, ...] = (400,)
    method: str = ""
    needs: str = ""

    @property
    def acts(self) -> bool:
        """It is a valid retry."""
        return self.expected == _ACCEPTED


# Each refused body has an object in place of each text. No service converts an object to an ID or an action,
# as some do a number (0 == "Retry"), true or a list of one. It is not empty: that may count as absent. JSON
# is cut off within the last braces: a service that repairs it reads the same object. No required field is
# left out: an absent action may mean a retry.
_NO_VALUE = '{"unexpected": "unexpected"}'
_ACTION, _RETRY = f'{{"action": {_NO_VALUE}}}', '{"action": "Retry"}'
_RECORD, _TASK = f'{{"record_id": {_NO_VALUE}}}', f'{{"task_id": {_NO_VALUE}}}'
_BOTH = f"{_RECORD[:-1]}, {_TASK[1:]}"
_ACCEPTED, _ANONYMOUS = (200, 400, 404), (401,)
_GET = Row("GET", method="GET", expected=(404, 405))  # 404 is the gateway's unknown API
# The last one has no credentials: wrong ones would be counted.
TABLE: Final[Mapping[str, tuple[Row, ...]]] = {
    "RetryEngine": (
        Row("an object as action", _ACTION, _UTF8),
        Row("JSON that is cut off", _ACTION[:-2], _UTF8),
        Row("not JSON", "unexpected", _UTF8),
        Row("the media type that the official SDK sends", _ACTION),
        _GET,
        Row("a retry", _RETRY, _UTF8, _ACCEPTED),
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
Case = tuple[Row, httpx.Request]


class Settings(NamedTuple):
    """What the environment asks for; `ids` by their names in the contract."""

    url: str
    operation: Operation
    ids: Mapping[str, str]
    writes: bool


def read_settings(contract: Contract, environ: Mapping[str, str]) -> Settings:
    """Read URL, TAG, CONFIRM, ALLOW_WRITES and the IDs; refuse what is missing or invalid."""
    url, tag = environ.get("URL", "").rstrip("/"), environ.get("TAG", "")
    operations = {each.tags[0]: each for each in contract.operations if each.id in TABLE}
    if url_problem(url, allow_http=False) or httpx.URL(url).path != "/":
        raise ConfigurationError("URL: give https:// and a host, no path; http is for this machine only")
    if tag not in operations:
        raise ConfigurationError(f"TAG: give {' or '.join(sorted(operations))}, not {one_line(tag)!r}")
    for name in ("CONFIRM", "ALLOW_WRITES"):
        if environ.get(name, "") not in {"", "yes", "no"}:
            raise ConfigurationError(f"{name}: must be yes or no")
    operation, writes = operations[tag], environ.get("ALLOW_WRITES") == "yes"
    needed: list[str] = re.findall(r"\{(\w+)\}", operation.path)
    retried = [row.needs for row in TABLE[operation.id] if row.needs]
    ids = {name: environ.get(name.upper(), "") for name in (*needed, *retried)}
    for name, value in ids.items():
        if value and not _ID.fullmatch(value):
            raise ConfigurationError(f"{name.upper()}: an ID has 1 to 64 letters, digits, -, _ and dots")
    if not all(ids[name] for name in needed):
        raise ConfigurationError(f"TAG={tag} needs {' and '.join(map(str.upper, needed))}")
    if writes and retried and not any(ids[name] for name in retried):
        raise ConfigurationError(f"ALLOW_WRITES=yes needs {' or '.join(map(str.upper, retried))}")
    return Settings(url, operation, ids, writes)


def make_plan(settings: Settings, client: httpx.Client) -> list[Case]:
    """Build the requests of the table that the settings allow, if the contract refuses all but retries."""
    cases: list[Case] = []
    operation, ids = settings.operation, settings.ids
    url, project = settings.url + operation.path.format(**ids), {"project_id": ids["project_id"]}
    for row in TABLE[operation.id]:
        if row.acts and not (settings.writes and (not row.needs or ids[row.needs])):
            continue
        method, content = row.method or operation.method, row.body.replace("$ID", ids.get(row.needs, ""))
        headers = {"Accept": _JSON} | ({"Content-Type": row.media_type} if content else {})
        is_refused = row.method or operation.check_request(ids, "", headers, content.encode()).problems
        if not (row.acts or is_refused):
            raise ConfigurationError(f"with this contract this might act, so nothing is sent: {row.title}")
        request = client.build_request(method, url, headers=headers, content=content, extensions=project)
        cases.append((row, request))
    return cases


def describe(cases: list[Case], settings: Settings, auth: httpx.Auth) -> Iterator[str]:
    """Describe the plan."""
    yield f"{settings.operation.id} at URL={settings.url}, with {type(auth).__name__}:"
    for number, (row, request) in enumerate(cases, 1):
        expected = " or ".join(map(str, row.expected))
        yield f"{number:3}. {'ACTS: ' if row.acts else ''}{row.title} -> {expected}"
        headers = {**request.headers} | ({} if row.expected == _ANONYMOUS else {"X-Auth-Token": "<token>"})
        yield f"     {curl(request.method, request.url.path, headers, request.content, token='<token>')}"
    acting = sum(row.acts for row, _ in cases)
    yield f"{len(cases)} requests, 5 a second at most: {len(cases) - acting} must be refused."
    if acting:
        yield f"{acting} REALLY RETRY, each sent once: work may run again, and run twice."


@dataclass
class Run:
    """Sends the requests, and counts the responses."""

    operation: Operation
    client: httpx.Client
    auth: httpx.Auth
    sleep: Callable[[float], None]
    may_have_acted: bool = False
    """The last request was a retry, or accepted, and no response denies that it was processed."""
    statuses: Counter[int] = field(default_factory=Counter[int])
    broken: list[str] = field(default_factory=list[str])
    """Lines about responses that break the contract."""

    def send_all(self, cases: list[Case]) -> int:
        """Send one request after the other; return the exit code if it is stopped, or 0."""
        for number, case in enumerate(cases, 1):
            code = 1
            try:
                why = self._send(number, *case)
            except IAMError as error:
                why = str(error)
            except httpx.RequestError as error:
                why = f"no response to {error.request.url}, {type(error).__name__}: {error}"
            except KeyboardInterrupt:
                why, code = "interrupted", 130  # as a shell has it
            if why:
                look = "; IT MAY HAVE ACTED: look at the job or task first" if self.may_have_acted else ""
                print(f"STOPPED at {number}.: {one_line(why)}{look}.")
                return code
        return 0

    def _send(self, number: int, row: Row, request: httpx.Request) -> str:
        """Send it; return why to stop, or an empty text."""
        if row.acts and self.broken:
            return "a response breaks the contract, so nothing is retried"
        for attempt in range(1, _RESEND.max_attempts + 1):
            response, problems = judged(self.operation, row, self._received(row, request))
            status, error = response.status_code, response.error
            shown = error or one_line(f"{status} {response.content.decode(errors='replace')}")
            print(line := f"{number}. {row.title}: {shown}", flush=True)
            self.statuses[status] += 1
            if problems:
                self.broken += [f"BREAKS THE CONTRACT: {line}", *(f"     {each}" for each in problems)]
            self.may_have_acted = bool(error and error.outcome_unknown and (row.acts or succeeds(status)))
            if self.may_have_acted:
                return f"{status} to {row.title}"
            if status == 401 and row.expected != _ANONYMOUS:  # five wrong signatures lock an access key
                return "401 to credentials: check them, their region and project, and this machine's clock"
            if status != 429:
                return ""
            self.sleep(_RESEND.wait(attempt, response) or 0)
        return f"still 429 after {_RESEND.max_attempts} attempts, none of which was processed: try later"

    def _received(self, row: Row, request: httpx.Request) -> httpx.Response:
        if row.expected != _ANONYMOUS:
            # The auth flow is left as soon as the request is ready: it sees no 401, or it would resend.
            flow = self.auth.sync_auth_flow(request)
            step = next(flow)
            while step is not request:  # but one to IAM
                step = flow.send(self._exchange(step))
        return self._exchange(request, acts=row.acts)

    def _exchange(self, request: httpx.Request, *, acts: bool = False) -> httpx.Response:
        self.sleep(GAP)
        self.may_have_acted = acts
        return self.client.send(request, auth=None)


def judged(operation: Operation, row: Row, received: httpx.Response) -> tuple[Response[None], list[str]]:
    """Return a response without the secrets of its request, and what breaks the contract."""
    sent, headers, content = received.request.headers, received.headers.copy(), received.content
    secrets = [sent.get(name, "") for name in ("X-Auth-Token", "X-Security-Token", "Authorization")]
    secrets += re.findall("(?:Access|Signature)=([^,]+)", secrets[-1])
    for secret in map(Secret[str], filter(None, secrets)):  # before any text made of it is cut
        content = mask(content, secret)
        headers.update({name: mask(value.encode(), secret).decode() for name, value in headers.items()})
    status = received.status_code
    # A 401 to credentials says something about them, and a 429 about the load: neither about this request.
    problems = [] if status in {*row.expected, 401, 429} else [f"status: {status} was not expected"]
    problems += [one_line(str(each)) for each in operation.check_response(status, headers, content)]
    problems += [text for _, text in about_any_response(operation.error_codes, status, headers, content)]
    problem = problems[0] if problems and succeeds(status) else None
    return Response(status_code=status, headers=headers, content=content, problem=problem), problems


def main(environ: Mapping[str, str] = os.environ, sleep: Callable[[float], None] = time.sleep) -> int:
    """Run; return the exit code that docs/contract-testing.md has."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a service may say what the terminal cannot show
        sys.stdout.reconfigure(errors="backslashreplace")
    agent = {"User-Agent": f"huaweicloud-retry/{CONTRACT.version} contract"}
    with httpx.Client(timeout=httpx.Timeout(60, connect=10), headers=agent) as client:
        try:
            settings = read_settings(CONTRACT, environ)
            auth = find_credentials(None, environ, Path.home())
            cases = make_plan(settings, client)
        except ConfigurationError as error:
            print(f"make contract: {error}; nothing was sent", file=sys.stderr)
            return 2
        print(*describe(cases, settings, auth), sep="\n")
        if environ.get("CONFIRM") != "yes":
            print("Nothing was sent. To send these, add CONFIRM=yes")
            return 2
        run = Run(settings.operation, client, auth, sleep)
        code = run.send_all(cases)
    responses = ", ".join(f"{count} of {status}" for status, count in sorted(run.statuses.items()))
    print(f"{len(cases)} requests planned; responses: {responses or 'none'}", *run.broken, sep="\n")
    return code or int(bool(run.broken))


if __name__ == "__main__":
    sys.exit(main())
