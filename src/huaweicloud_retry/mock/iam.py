"""Accepted credentials, and IAM's `POST /v3/auth/tokens`, which issues a token to a user.

Source of its request, response and error bodies:
https://support.huaweicloud.com/intl/en-us/api-iam/iam_30_0001.html (none for an unknown project or domain).
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from math import inf
from typing import Any, NamedTuple

from huaweicloud_retry.parsing import Json, UnreadableError, pointer, read_json, violations

from .data import validator
from .response import MockResponse, some

OPERATION = "KeystoneCreateUserTokenByPassword"
PATH = "/v3/auth/tokens"
_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"
LOCKED = "five failures in a row lock it for five minutes of the mock's clock"
_FAILURES, _LOCKED_FOR = 5, 300.0  # seconds


class AccessKey(NamedTuple):
    """An access key and its secret key."""

    access_key: str
    secret_key: str
    security_token: str | None


class User(NamedTuple):
    """A user who may request a token."""

    name: str
    password: str
    domain: str


class Locks:
    """Counts the failures in a row of each access key and user."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._failures: dict[AccessKey | User, tuple[int, float]] = {}

    def holds(self, who: AccessKey | User) -> bool:
        """Return whether an access key or user is locked."""
        failures, last = self._failures.get(who, (0, 0.0))
        return failures >= _FAILURES and self._now() < last + _LOCKED_FOR

    def count(self, who: AccessKey | User, *, right: bool) -> bool:
        """Count an attempt that is not locked; returns whether it was right."""
        failures, _ = self._failures.pop(who, (0, 0.0))
        if not right:
            self._failures[who] = failures % _FAILURES + 1, self._now()
        return right


class Credentials:
    """The credentials of a state file, by the mock's clock. `public`: dummies, not secret."""

    def __init__(self, given: Mapping[str, Any], now: Callable[[], float], *, public: bool = False) -> None:
        self._now, start = now, now()
        self.locks = Locks(now)
        self._tokens: dict[str, tuple[float, str | None]] = {
            token: (start + about.get("expires_in", inf), about.get("project"))
            for token, about in given.get("tokens", {}).items()
        }
        self._token_lifetime: float = given.get("token_lifetime", 86400.0)
        self.access_keys = {
            name: AccessKey(name, about["secret_key"], about.get("security_token"))
            for name, about in given.get("access_keys", {}).items()
        }
        self.users = {name: User(name, **about) for name, about in given.get("users", {}).items()}
        # Signs the issued tokens, so that none has to be stored.
        self._key = secrets.token_bytes()
        self._public = public
        self.hint = "the mock accepts the credentials in its state file"
        if public:
            keys = (f"{name} and {key.secret_key}" for name, key in self.access_keys.items())
            # Not in the form of a header: clients mask those in error texts.
            self.hint = f"the mock accepts the token {some(self._tokens)}, or a signature with {some(keys)}"

    def shown(self) -> tuple[str, dict[str, str]]:
        """Return a token and a text by kind of credential, for a public page: only dummies are shown."""
        token, tokens = "", f"{len(self._tokens)}, in the state file"
        keys, users = list(self.access_keys), list(self.users)
        if self._public:
            token, tokens = next(iter(self._tokens), ""), ", ".join(self._tokens)
            keys = [f"{name} {key.secret_key}" for name, key in self.access_keys.items()]
            users = [f"{name} {user.password}" for name, user in self.users.items()]
        return token, {
            "Token": tokens,
            "Signature: access key, secret key": ", ".join(keys) or "none",
            "IAM user, password": ", ".join(users) or "none",
        }

    def wrong_token(self, token: str, project: str | None) -> tuple[str, str] | None:
        """Return why a token is invalid for a project: its cause in x-error-codes and a text. None: valid."""
        if token in self._tokens:
            expiry, of = self._tokens[token]
        else:
            claim, _, proof = token.rpartition(".")
            if not hmac.compare_digest(proof.encode(), self._proof(claim).encode()):
                return "credentials", "the X-Auth-Token is wrong"
            microseconds, _, scope = claim.split(".")
            expiry, of = int(microseconds) / 1e6, bytes.fromhex(scope).decode() or None
        if self._now() >= expiry:
            return "token-expired", "the X-Auth-Token has expired"
        if None not in {of, project} and of != project:
            return "token-expired", "the X-Auth-Token is of another project"
        return None

    def issue_token(self, project: str) -> tuple[str, datetime, datetime]:
        """Return a new token, its time of issue and its expiry. Without a project, it is for all projects."""
        issued = self._now()
        expiry = issued + self._token_lifetime
        claim = f"{int(expiry * 1e6)}.{secrets.token_hex(8)}.{project.encode().hex()}"
        token = f"{claim}.{self._proof(claim)}"
        return token, datetime.fromtimestamp(issued, UTC), datetime.fromtimestamp(expiry, UTC)

    def _proof(self, claim: str) -> str:
        return hmac.new(self._key, claim.encode(), "sha256").hexdigest()


def create_token(  # noqa: PLR0911 - one return for each error
    credentials: Credentials, projects: Mapping[str, str], content_type: str | None, body: bytes
) -> MockResponse:
    """Handle `POST /v3/auth/tokens`: 201 with the token in X-Subject-Token, or an error in IAM's format."""
    if content_type is None or content_type.partition(";")[0].strip().lower() != "application/json":
        return _error(400, "The request body is invalid: Content-Type must be application/json;charset=utf8.")
    try:
        value: Any = read_json(body)
        wrong = violations(validator("iam.schema.yaml", secrets=True), value)
    except UnreadableError as error:
        return _error(400, f"The request body is invalid: it {error}.")
    if wrong:
        reasons = "; ".join(f"{pointer(path) or 'the body'}: {what}" for path, what, _ in wrong)
        return _error(400, f"The request body is invalid: {reasons}")
    auth = value["auth"]
    who = auth["identity"]["password"]["user"]
    user = credentials.users.get(who["name"])
    if user and credentials.locks.holds(user):
        return _error(401, f"The user is locked: {LOCKED}.")
    right = user is not None and (user.password, user.domain) == (who["password"], who["domain"]["name"])
    if user is None or not credentials.locks.count(user, right=right):
        return _error(401, "The username or password is wrong.")
    try:
        scope = _scope(auth.get("scope", {}), user.domain, projects)
    except LookupError as error:
        return _error(404, error.args[0])
    project: Any = scope.get("project", {"id": ""})
    token, issued, expiry = credentials.issue_token(project["id"])
    about: dict[str, Json] = {
        "catalog": [],  # on the live service, the hosts of all services
        "methods": ["password"],
        "issued_at": issued.strftime(_TIME),
        "expires_at": expiry.strftime(_TIME),
        "user": {
            "id": _id_of(user.name),
            "name": user.name,
            "domain": _domain(user.domain),
            "password_expires_at": "",
        },
        "roles": [{"id": "0", "name": "te_admin"}],
        **scope,
    }
    return MockResponse(201, {"token": about}, {"X-Subject-Token": token}, acted=True)


def _scope(asked: Mapping[str, Any], domain: str, projects: Mapping[str, str]) -> dict[str, Json]:
    """Return the scope that a request names, by default the whole domain. Raises LookupError."""
    if "project" in asked:
        ((field, wanted),) = asked["project"].items()
        for id_, name in projects.items():
            if wanted == (id_ if field == "id" else name):
                return {"project": {"id": id_, "name": name, "domain": _domain(domain)}}
        known = some(projects if field == "id" else projects.values())
        raise LookupError(f"The project could not be found by {field}; the mock has {known}.")
    of_user = {"id": _id_of(domain), "name": domain}
    ((field, wanted),) = asked.get("domain", {"name": domain}).items()
    if wanted != of_user[field]:
        raise LookupError(f"The domain could not be found by {field}; the user's is {of_user[field]}.")
    return {"domain": _domain(domain)}


def _domain(name: str) -> Json:
    return {"id": _id_of(name), "name": name}


def _error(status: int, message: str) -> MockResponse:
    title = {400: "Bad Request", 401: "Unauthorized", 404: "Not Found"}[status]
    return MockResponse(status, {"error": {"code": status, "message": message, "title": title}})


def _id_of(name: str) -> str:
    """Derive an ID of 32 hexadecimal digits from a name."""
    return hashlib.sha256(name.encode()).hexdigest()[:32]
