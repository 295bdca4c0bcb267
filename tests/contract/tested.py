"""The server that is tested, as rules see it: a URL, the contract, and a description of its state.

rule           adds a function to RULES; its name, docstring and `source` are what a report says of it
Tested         sends requests, expects responses, waits
held_to        runs the rules -> list[Verdict]
"""

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from hashlib import sha256
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, NoReturn
from urllib.parse import quote

from huaweicloud_retry.contract import Contract, ErrorCode, Operation
from huaweicloud_retry.runtime.redaction import one_line
from tests.contract import wire
from tests.contract.curl import hidden
from tests.contract.wire import Reply, Request, bare

RUNNING = {"PreInit", "Init", "Executing", "WAITING", "RUNNING"}
FAILED = {"Error", "Timeout", "FAILED"}
PATIENCE = 15.0  # seconds for somebody to start the server anew
_SHOWN = 200  # bytes of a response
_ONCE = "content-length", "content-type", "date", "retry-after"
_DATE = re.compile(r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [JFMASOND][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT")
_LONGEST_WAIT = 60.0  # seconds for one piece of work, where no clock can be put forward
NONE: Mapping[str, Any] = MappingProxyType({})


class BrokenError(Exception):
    """A rule is broken: how, and the request that showed it."""

    def __init__(self, what: str, request: Request | None = None) -> None:
        super().__init__(what)
        self.request = request


class NotApplicableError(Exception):
    """A rule cannot be put to the test here; the text says why."""


@dataclass(frozen=True)
class Work:
    """An engine with its last job, or a record of a script task, as the description has it."""

    project: str
    id: str
    """Of the engine or record."""
    status: str
    given: Mapping[str, Any]
    task: str = ""
    """Of a record."""
    engine: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def failed(self) -> bool:
        return self.status in FAILED

    @property
    def ends(self) -> list[str]:
        """How its retries end."""
        ends: list[str] = self.given.get("retries_end", ["SUCCESS" if self.task else "Finished"])
        return ends

    @property
    def ends_alike(self) -> bool:
        """Each retry leaves it as it was, so that it is as described after any number of them."""
        return {*self.ends} == {self.status}

    @property
    def retry(self) -> tuple[str, dict[str, Any]]:
        """The operation that retries it, and the arguments of `Tested.request`."""
        if self.task:
            return "RetryScriptExecution", {"project_id": self.project, "body": {"record_id": self.id}}
        return "RetryEngine", {"project_id": self.project, "engine_id": self.id, "body": {"action": "Retry"}}


@dataclass
class Tested:
    """A server under test. `state` is what a state file says; `resets` that it is a mock with admin endpoints."""

    __test__ = False  # for pytest, to which the name says otherwise

    url: str
    contract: Contract
    state: Mapping[str, Any]
    resets: bool = False
    responses: Counter[tuple[str, int]] = field(default_factory=Counter[tuple[str, int]])
    down: bool = False
    """It sent no response, and was not there again within PATIENCE."""
    noted: dict[str, tuple[str, Reply]] = field(default_factory=dict[str, tuple[str, Reply]])
    """What was wrong with a response, whatever was asked, by rule; the first of each."""
    _ids: set[str] = field(default_factory=set[str])
    """Of all responses."""
    used: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    """Work that a rule has taken since the last reset: project and ID."""
    _tagged: dict[tuple[str, str], bytes] = field(default_factory=dict[tuple[str, str], bytes])
    """The body of each URI and ETag."""

    # --- Its state ------------------------------------------------------------------------------------------

    @property
    def token(self) -> str:
        """The first one of the description; rules about one project or an expiry name theirs."""
        tokens: dict[str, Any] = self.state["credentials"].get("tokens", {})
        plain = [token for token, about in tokens.items() if not about]
        if not plain:
            raise NotApplicableError("the credentials have no token that is valid everywhere and for good")
        return plain[0]

    @property
    def secrets(self) -> set[str]:
        """Tokens, secret keys, security tokens and passwords."""
        credentials = self.state["credentials"]
        keys = credentials.get("access_keys", {}).values()
        parts = {each.get(name, "") for each in keys for name in ("secret_key", "security_token")}
        parts |= {user["password"] for user in credentials.get("users", {}).values()}
        return {*credentials.get("tokens", {}), *parts} - {""}

    @property
    def searched(self) -> list[str]:
        """Secrets that are too long to be in a response by chance."""
        return [secret for secret in self.secrets if len(secret) >= 8]

    def hidden(self, text: str) -> str:
        """Return the text without secrets and control characters."""
        return "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in hidden(text, self.secrets))

    def curl(self, request: Request) -> str:
        """Return the line that sends a request again, without secrets."""
        return request.curl(next(iter(self.state["credentials"].get("tokens", {})), ""), self.secrets)

    def key(self, *, temporary: bool = False, spare: bool = False) -> tuple[str, str, str]:
        """Return access key, secret key and security token; `spare`: of a key that no other rule uses."""
        keys = self.state["credentials"].get("access_keys", {})
        names = [name for name, about in keys.items() if ("security_token" in about) == temporary]
        if len(names) <= spare:
            kind = "second " if names else "temporary " if temporary else ""
            raise NotApplicableError(
                f"the credentials have no {kind}access key{', and it would be locked' * spare}"
            )
        about = keys[names[spare]]
        return names[spare], about["secret_key"], about.get("security_token", "")

    def project(self, *, other: bool = False) -> str:
        """Return the first project of the description, or another one."""
        names: list[str] = [*self.state["projects"]][: 2 if other else 1]
        if other and len(names) < 2:
            raise NotApplicableError("the state describes one project only")
        return names[-1]

    def engines(self) -> list[Work]:
        """Return all engines."""
        return [
            Work(project, id_, engine["jobs"][-1]["status"], engine["jobs"][-1], engine=engine)
            for project, about in self.state["projects"].items()
            for id_, engine in about.get("engines", {}).items()
        ]

    def records(self, task: str | None = None) -> list[Work]:
        """Return all records, or those of a task."""
        return [
            Work(project, id_, record["status"], record, task_id)
            for project, about in self.state["projects"].items()
            for task_id, records in about.get("script_tasks", {}).items()
            for id_, record in records["records"].items()
            if task in {None, task_id}
        ]

    def fresh(self, works: Iterable[Work], what: str) -> Work:
        """Return the first that is as described: not used since the last reset or, without a reset, by what reads say."""
        for work in works:
            key = work.project, work.id
            is_again = not self.resets and work.ends_alike and self.status(work) == work.status
            if key not in self.used or is_again:
                self.used.add(key)
                return work
        raise NotApplicableError(
            f"the state describes no {what}, or it is used up, and the server has no reset"
        )

    def all_failed(self, works: list[Work]) -> list[Work]:
        """Return all that failed; two where there is no reset, so that other rules have some."""
        failed = [work for work in works if work.failed]
        if not self.resets:
            failed = sorted(failed, key=lambda work: not work.ends_alike)[:2]
            self.used.update((work.project, work.id) for work in failed)
        return failed

    def failed_engine(self, **wanted: Any) -> Work:
        """Take an engine whose last job failed; `wanted`: fields of the job."""
        found = [e for e in self.engines() if e.failed and wanted.items() <= e.given.items()]
        lasting = [e for e in found if self.run_time(e) > 0]
        return self.fresh(found if wanted else lasting, f"engine with a failed job {wanted or ''}".rstrip())

    def failed_record(self) -> Work:
        """Take a record that failed."""
        return self.fresh((r for r in self.records() if r.failed and self.run_time(r) > 0), "failed record")

    def again(self, kind: str) -> Work:
        """Return work whose every retry is accepted, since it fails again at once."""
        works = self.engines() if kind == "engine" else self.records()
        found = [work for work in works if work.failed and self._fails_again(work)]
        if not found:
            raise NotApplicableError(
                f"the state describes no {kind} with run_time 0 whose retries end failed"
            )
        return min(found, key=lambda work: not self.repeats(work.task))

    def repeats(self, task: str) -> bool:
        """Return whether all records of a task that failed fail again at once, so that it can be retried again."""
        return all(self._fails_again(record) for record in self.records(task) if record.failed)

    def _fails_again(self, work: Work) -> bool:
        return self.run_time(work) == 0 and not set(work.ends) - FAILED

    def run_time(self, work: Work) -> float:
        """Return how long a retry of it runs."""
        seconds: float = work.given.get("run_time", self.state.get("run_time", 30))
        return seconds

    # --- Requests -------------------------------------------------------------------------------------------

    def operation(self, id_: str) -> Operation:
        """Return an operation of the contract."""
        for operation in self.contract.operations:
            if operation.id == id_:
                return operation
        raise NotApplicableError(f"the contract has no operation {id_}")

    def request(
        self,
        id_: str,
        *,
        body: Any = None,
        query: str = "",
        auth: str | None = "",
        headers: Mapping[str, str] = NONE,
        **path: Any,
    ) -> Request:
        """Build a request with the token (`auth`: another one; None: without)."""
        operation = self.operation(id_)
        target = operation.path.format(**{name: quote(str(value), safe="") for name, value in path.items()})
        given = {} if auth is None else {"X-Auth-Token": auth or self.token}
        if body is not None:
            given["Content-Type"] = "application/json"
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        fields = tuple((given | dict(headers)).items())
        return Request(operation.method, f"{target}?{query}" if query else target, fields, content)

    def retry(self, work: Work) -> Request:
        """Build the retry of a piece of work."""
        operation, arguments = work.retry
        return self.request(operation, **arguments)

    def read(self, work: Work) -> Request:
        """Build the read of an engine's last job, or of a record."""
        if work.task:
            return self.request("ShowScriptRecordDetail", project_id=work.project, record_id=work.id)
        job = work.given["id"]
        return self.request("ShowEngineJob", project_id=work.project, engine_id=work.id, job_id=job)

    def status(self, work: Work) -> str:
        """Return what a read says of it now."""
        return str(self.accepted(self.read(work)).get("status"))

    @contextmanager
    def changes(self, *works: Work) -> Generator[None, None, None]:
        """Expect of a block that it makes these run, and changes nothing else, as the reads say."""
        before = self._said()
        yield
        named = {(work.project, work.id) for work in works}
        for work, was, now in zip(self._lasting, before, self._said(), strict=True):
            is_last = work.task or work.given is work.engine["jobs"][-1]
            wanted = is_last and (work.project, work.id) in named
            if was[0] not in RUNNING and (was != now) != wanted:
                what = "does not run" if wanted else "was changed, and nothing valid asked for it"
                what = f"{work.id} of {work.project} {what}: it was {was[0] or 'unknown'}, and is {now[0] or 'unknown'}"
                raise BrokenError(what, self.read(work))

    @cached_property
    def _lasting(self) -> list[Work]:
        """Jobs, the earlier ones too, and records, but those that fail again at once."""
        engines = self.engines()
        jobs = [
            replace(each, given=job, status=job["status"]) for each in engines for job in each.engine["jobs"]
        ]
        return [work for work in (*jobs, *self.records()) if self.run_time(work) > 0]

    def _said(self) -> list[tuple[Any, ...]]:
        """Return what the reads say of each: status and beginning."""
        with_records = dict.fromkeys(work.project for work in self._lasting if work.task)
        projects = {project: self._listed(project) for project in with_records}
        said: list[tuple[Any, ...]] = []
        for work in self._lasting:
            shown = projects[work.project].get(work.id, {}) if work.task else self._json(self.read(work))
            said.append((shown.get("status"), shown.get("startTime"), shown.get("start_time")))
        return said

    def _listed(self, project: str) -> dict[str, Any]:
        """Return the records of a project, as far as a page has them."""
        page = self._json(self.request("ListScriptRecords", project_id=project, query="limit=100"))
        records = page.get("script_records")
        return {each["id"]: each for each in records if "id" in each} if isinstance(records, list) else {}

    def _json(self, request: Request) -> dict[str, Any]:
        try:
            body = self.send(request).json
        except BrokenError:  # which other rules report
            return {}
        return body if isinstance(body, dict) else {}

    def send(self, request: Request) -> Reply:
        """Send it; whatever is wrong with any response is noted."""
        reply = self._sent(request)
        said = reply.status, reply.headers, reply.content
        near = self.near(request)
        problems = [*self.about_every_response(near, *said)]
        documented = "every_response_is_documented"
        if near and request.method != "HEAD":
            problems += [(documented, str(each)) for each in near.check_response(*said)]
            names = Counter(name.lower() for name, _ in reply.fields)
            problems += [(documented, f"{name} comes twice") for name in _ONCE if names[name] > 1]
        etag = reply.headers.get("etag", "W/")  # a weak one allows other bodies
        if request.method == "GET" and reply.status == 200 and not etag.startswith("W/"):
            body = self._tagged.setdefault((request.target, etag), reply.content)
            problems += [(documented, "the ETag was that of another body")] if body != reply.content else []
        for name, problem in problems:
            self.noted.setdefault(name, (problem, reply))
        if operation := self._of(request):
            self.responses[operation.id, reply.status] += 1
        return reply

    def about_every_response(
        self, operation: Operation | None, status: int, headers: Mapping[str, str], content: bytes
    ) -> Iterator[tuple[str, str]]:
        """Say what is wrong with a response, whatever was asked: rule and problem."""
        errors = operation.error_codes if operation else self.contract.error_codes
        yield from wire.about_any_response(errors, status, headers, content)
        lower = {name.lower(): value for name, value in headers.items()}
        if not _DATE.fullmatch(lower.get("date", "")):
            yield "every_response_is_documented", f"Date is {lower.get('date', 'missing')!r}"
        id_ = lower.get("x-request-id", "")
        if not id_ or "," in id_ or id_ in self._ids:
            problem = "that of an earlier response" if id_ in self._ids else "not there, or twice"
            yield "each_response_has_a_request_id_of_its_own", f"X-Request-Id is {problem}"
        self._ids.add(id_)
        said = content.decode(errors="replace") + "\n".join(lower.values())
        if any(secret in said for secret in self.searched):
            yield "no_response_repeats_a_secret", "the response has a secret of the credentials"
        if status == 429 and not lower.get("retry-after"):
            yield "a_throttled_request_says_when_to_come_back", "no Retry-After"
        found = re.search(rb'"error_code":\s*"(API\w+\.\d+)"', content)
        of_status = [error for error in errors if error.status == status]
        if found and of_status and not any(error.assumed for error in of_status):
            code = wire.bare(found[1].decode())
            if code not in {wire.bare(error.code) for error in of_status}:
                yield (
                    "an_error_code_comes_with_its_status",
                    f"x-error-codes has no {code} with status {status}",
                )

    def _sent(self, request: Request) -> Reply:
        try:
            return wire.send(self.url, request)
        except wire.NoResponseError as error:
            self._wait_for_restart()
            raise BrokenError(f"no whole HTTP response: {error}", request) from error

    def _wait_for_restart(self) -> None:
        until = time.monotonic() + PATIENCE
        while True:
            try:
                wire.send(self.url, Request("GET", "/"))
            except wire.NoResponseError:
                self.down = time.monotonic() > until
                if self.down:
                    return
                time.sleep(0.1)
            else:
                return

    def of_path(self, request: Request) -> list[Operation]:
        """Return the operations of its path, found without contract.py, which the mock has as well."""
        sent = request.target.partition("?")[0].split("/")
        return [each for each in self.contract.operations if _fits(each.path.split("/"), sent)]

    def _of(self, request: Request) -> Operation | None:
        return next((each for each in self.of_path(request) if each.method == request.method), None)

    def near(self, request: Request) -> Operation | None:
        """Return the operation that a request is for, or one of its path."""
        return self._of(request) or next(iter(self.of_path(request)), None)

    # --- Expectations ---------------------------------------------------------------------------------------

    def broken(self, reply: Reply, what: str) -> NoReturn:
        """Report a response that breaks the rule."""
        said = one_line(reply.content.decode(errors="replace"), _SHOWN) or "(no body)"
        raise BrokenError(f"{what}\n  response: {reply.status} {said}", reply.request)

    def accepted(self, request: Request) -> Reply:
        """Send it and expect a 200."""
        reply = self.send(request)
        if reply.status != 200:
            self.broken(reply, f"status {reply.status}, and not 200")
        return reply

    def refused(self, request: Request, *causes: str, operation: str = "") -> Reply:
        """Send it and expect the status, code and detail of one of the causes in x-error-codes."""
        of = self.operation(operation) if operation else self.near(request)
        reply = self.send(request)
        expected = [error for cause in causes if (error := self._error(cause, of))]
        if not expected:
            raise NotApplicableError(f"x-error-codes has no cause {' or '.join(causes)}")
        if not any(self._is(reply, error, of) for error in expected):
            wanted = " or ".join(map(_named, expected))
            code = str(reply.get("error_code") or "without error_code")
            detail = f", detail {reply.get('detail') or 'missing'}" if code in wanted else ""
            self.broken(reply, f"{reply.status} {code}{detail}, and not {wanted}")
        self._with_wrong_token(request, causes, of)
        return reply

    def _with_wrong_token(self, request: Request, causes: Sequence[str], of: Operation | None) -> None:
        """Send a request that is refused with a wrong token, and note if it is refused for another cause than the first."""
        order = self.contract.check_order
        kinds = ["invalid" if each == "malformed" else each for each in causes]  # both are about the body
        names = {name for each in kinds for name in (each, each.split("-")[0])}
        places = [order.index(name) for name in names if name in order]
        has_token = dict(request.headers).get("X-Auth-Token") == self.token
        if not has_token or not places or "credentials" not in order:
            return
        is_before = min(places) < order.index("credentials")
        reply = self.send(request.with_headers({"X-Auth-Token": "no-such-token"}))
        first = causes if is_before else ["credentials"]
        expected = [error for cause in first if (error := self._error(cause, of))]
        if not any(self._is(reply, error, of) for error in expected):
            name = "of_several_faults_the_first_in_order_is_reported"
            problem = f"with a wrong token it has to be {' or '.join(map(_named, expected))}"
            self.noted.setdefault(name, (problem, reply))

    def _error(self, cause: str, operation: Operation | None) -> ErrorCode | None:
        """Find a cause: the operation's own, its service's, the gateway's."""
        of_service = [
            each for each in self.contract.operations if operation and set(operation.tags) & set(each.tags)
        ]
        gateway = self.contract.error_codes
        own = [
            error for each in ([operation] if operation else []) + of_service for error in each.error_codes
        ]
        known = [*(error for error in own if error not in gateway), *gateway]
        return next((error for error in known if error.cause == cause), None)

    def _is(self, reply: Reply, error: ErrorCode, operation: Operation | None) -> bool:
        if reply.status != error.status:
            return False
        if reply.request.method == "HEAD":  # without a body
            return True
        code = reply.get("error_code")
        if not isinstance(code, str) or (error.detail and reply.get("detail") != error.detail):
            return False
        if bare(code) == bare(error.code):
            return True
        others = operation.error_codes if operation else self.contract.error_codes
        return error.assumed and not any(bare(code) == bare(other.code) for other in others)

    # --- Time -----------------------------------------------------------------------------------------------

    def reset(self) -> None:
        """Go back to the description, if the server can."""
        if self.resets:
            self._do(_admin("reset", {}))
            self.used.clear()

    def wait(self, seconds: float) -> None:
        """Let time pass: by the server's clock if it has one, or by waiting."""
        if self.resets:
            self._do(self.clock(seconds))
        elif seconds > _LONGEST_WAIT:
            raise NotApplicableError(f"this takes {seconds:g} seconds, and the server has no clock")
        else:
            time.sleep(seconds)

    def clock(self, seconds: float) -> Request:
        """Build the request that puts the mock's clock forward."""
        return _admin("clock", {"advance": seconds})

    def _do(self, request: Request) -> None:
        if (reply := self._sent(request)).status >= 300:
            self.broken(reply, "the mock does not do as it is told")

    # --- Signatures -----------------------------------------------------------------------------------------

    def signed(
        self,
        request: Request,
        *names: str,
        key: tuple[str, str, str] | None = None,
        age: timedelta = timedelta(),
        seen: Request | None = None,
        dated: bool = True,
        payload: str = "",
    ) -> Request:
        """Sign a request instead of the token: X-Sdk-Date and the headers `names`, as if it were `seen`.

        `payload` goes in place of the body's hash, into X-Sdk-Content-Sha256 as well.
        """
        access_key, secret_key, security_token = key or self.key()
        date = (datetime.now(UTC) - age).strftime("%Y%m%dT%H%M%SZ")
        more: dict[str, str | None] = {"X-Auth-Token": None, "X-Sdk-Date": date}
        if security_token:
            more["X-Security-Token"] = security_token
        if payload:
            more["X-Sdk-Content-Sha256"] = payload
        sent = request.with_headers(more)
        meant = seen or sent
        fields = {name.lower(): value for name, value in meant.headers} | {"x-sdk-date": date}
        fields.setdefault("host", self.url.partition("//")[2])
        covered = {name.lower(): fields[name.lower()] for name in (*names, *["X-Sdk-Date"] * dated)}
        hashed = payload or sha256(meant.body).hexdigest()
        keys = access_key, secret_key
        signature = wire.authorization(keys, meant.method, meant.target, covered, date, hashed)
        return sent.with_headers({"Authorization": signature})


def _admin(page: str, body: Any) -> Request:
    headers = (("Content-Type", "application/json"),)
    return Request("POST", f"/_mock/{page}", headers, json.dumps(body).encode())


def _named(error: ErrorCode) -> str:
    code = f"{error.code} or a code without another cause" if error.assumed else error.code
    return f"{error.status} {code}{', detail ' * bool(error.detail)}{error.detail} ({error.cause})"


def _fits(template: list[str], sent: list[str]) -> bool:
    pairs = zip(template, sent, strict=False)
    return len(template) == len(sent) and all(a == b or a[:1] == "{" for a, b in pairs)


# --- Rules --------------------------------------------------------------------------------------------------

Check = Callable[[Tested], None]


class Rule(NamedTuple):
    """A rule."""

    name: str
    sentence: str
    source: str
    check: Check
    spends: bool = False
    """It uses up failed work, which is there no more for rules behind it if the server has no reset."""
    last: bool = False
    """It is about the responses to all others, too."""
    with_: str = ""
    """The rule without which this one says little: a server that accepts all holds it."""


class Verdict(NamedTuple):
    """What came of a rule."""

    rule: Rule
    verdict: Literal["held", "broken", "not applicable"]
    why: str = ""
    curl: str = ""
    """The line that shows it."""


RULES: list[Rule] = []


def rule(
    source: str, *, spends: bool = False, last: bool = False, with_: str = ""
) -> Callable[[Check], Check]:
    """Make a rule of a function. `source` names a page as x-source does, or facts that follow from it."""

    def add(check: Check) -> Check:
        sentence = " ".join((check.__doc__ or "").split())
        RULES.append(Rule(check.__name__, sentence, source, check, spends, last, with_))
        return check

    return add


def held_to(tested: Tested, rules: Iterable[Rule], *, first: bool = False) -> Iterator[Verdict]:
    """Put rules to the test, those that spend work behind the others; `first`: up to the first that is broken."""
    last = ""
    for each in sorted(rules, key=lambda rule: (rule.last, rule.spends and (rule.last or not tested.resets))):
        if first and (noted := [each for each in RULES if each.name in tested.noted]):
            each = noted[0]  # noqa: PLW2901 - what another rule has come upon needs no more requests
        verdict = Verdict(each, "not applicable", f"the server went down in {last}")
        if not tested.down:
            verdict, last = _verdict(tested, each), each.name
        yield verdict
        if first and verdict.verdict == "broken":
            return


def _check(tested: Tested, each: Rule) -> None:
    used = tested.used.copy()
    try:
        with nullcontext() if each.spends else tested.changes():
            each.check(tested)
    finally:
        if not each.spends:  # what it took has not run
            tested.used = used
        if each.name in tested.noted:
            what, reply = tested.noted[each.name]
            tested.broken(reply, what)


def _verdict(tested: Tested, each: Rule) -> Verdict:
    try:
        tested.reset()
        _check(tested, each)
    except NotApplicableError as error:
        return Verdict(each, "not applicable", tested.hidden(str(error)))
    except BrokenError as error:
        line = tested.curl(error.request) if error.request else ""
        return Verdict(each, "broken", tested.hidden(str(error)), line)
    except Exception as error:  # noqa: BLE001 - whatever an odd server makes a rule raise, the others still run
        return Verdict(each, "broken", tested.hidden(f"{type(error).__name__}: {error}"))
    return Verdict(each, "held")
