"""Who is let in, and IAM's `POST /v3/auth/tokens`, which gives a user a token.

Source of its request, answer and error bodies: https://support.huaweicloud.com/intl/en-us/api-iam/iam_30_0001.html. The answers to an
unknown project or domain are this mock's own.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol

from huaweicloud_retry.parsing import Json, UnreadableError, pointer, read_json, violations

from .answer import Answer, some
from .data import validator

OPERATION = "KeystoneCreateUserTokenByPassword"
PATH = "/v3/auth/tokens"


class AccessKey(NamedTuple):
    """The secret half of a pair of keys."""

    secret_key: str
    security_token: str | None


class User(NamedTuple):
    """Who may ask for a token."""

    password: str
    domain: str


class Credentials:
    """Who is let in. Its repr shows nothing of it.

    Args:
        given: `credentials` of a state file, checked.
        now: the mock's clock, in seconds since the epoch.
        public: these are dummies, which everybody may see.
    """

    def __init__(self, given: Mapping[str, Any], now: Callable[[], float], *, public: bool = False) -> None:
        start = now()
        self._now = now
        self._tokens: dict[str, float | None] = {
            token: start + about["expires_in"] if "expires_in" in about else None
            for token, about in given.get("tokens", {}).items()
        }
        self._token_lifetime: float = given.get("token_lifetime", 86400.0)
        self.access_keys = {
            name: AccessKey(about["secret_key"], about.get("security_token"))
            for name, about in given.get("access_keys", {}).items()
        }
        self.users = {name: User(**about) for name, about in given.get("users", {}).items()}
        # A token that was issued proves itself by this key, so that none has to be remembered.
        self._key = secrets.token_bytes()
        self.hint = "the mock takes what its state file lists under credentials"
        """Which will do, as far as everybody may know."""
        if public:
            keys = (f"{name} and {key.secret_key}" for name, key in self.access_keys.items())
            # Not in the form of a header: what shows error texts masks those, as this client does.
            self.hint = f"the mock takes the token {some(self._tokens)}, or a signature with {some(keys)}"

    def wrong_token(self, token: str) -> tuple[str, str] | None:
        """Return the gateway's error code and the reason why a token will not do; None if it will."""
        if token in self._tokens:
            expiry = self._tokens[token]
        else:
            claim, _, proof = token.rpartition(".")
            if not hmac.compare_digest(proof.encode(), self._proof(claim).encode()):
                return "APIGW.0301", "the X-Auth-Token is wrong"
            expiry = int(claim.partition(".")[0]) / 1e6
        if expiry is not None and self._now() >= expiry:
            return "APIGW.0307", "the X-Auth-Token has expired"
        return None

    def issue_token(self) -> tuple[str, datetime, datetime]:
        """Return a new token, when it was issued and when it ends."""
        issued = self._now()
        expiry = issued + self._token_lifetime
        claim = f"{int(expiry * 1e6)}.{secrets.token_hex(8)}"
        return f"{claim}.{self._proof(claim)}", datetime.fromtimestamp(issued, UTC), datetime.fromtimestamp(expiry, UTC)

    def _proof(self, claim: str) -> str:
        return hmac.new(self._key, claim.encode(), "sha256").hexdigest()


class Named(Protocol):
    """A project, as far as IAM is concerned."""

    @property
    def name(self) -> str: ...


def create_token(
    credentials: Credentials, projects: Mapping[str, Named], content_type: str | None, body: bytes
) -> Answer:
    """Answer `POST /v3/auth/tokens`: 201 with the token in X-Subject-Token, or an error in IAM's own shape."""
    if content_type is None or content_type.partition(";")[0].strip().lower() != "application/json":
        return _error(400, "The request body is invalid: Content-Type must be application/json;charset=utf8.")
    try:
        asked: Any = read_json(body)
        wrong = violations(validator("iam.schema.yaml", secrets=True), asked)
    except UnreadableError as error:
        return _error(400, f"The request body is invalid: it {error}.")
    if wrong:
        reasons = "; ".join(f"{pointer(path) or 'the whole'}: {what}" for path, what, _ in wrong)
        return _error(400, f"The request body is invalid: {reasons}")
    auth = asked["auth"]
    who = auth["identity"]["password"]["user"]
    user = credentials.users.get(who["name"])
    if user is None or (user.password, user.domain) != (who["password"], who["domain"]["name"]):
        return _error(401, "The username or password is wrong.")
    try:
        scope = _scope(auth.get("scope", {}), user.domain, projects)
    except LookupError as error:
        return _error(404, error.args[0])
    token, issued, expiry = credentials.issue_token()
    about: dict[str, Json] = {
        "catalog": [],  # on the live service the hosts of all services; the mock has none but itself
        "methods": ["password"],
        "issued_at": _time(issued),
        "expires_at": _time(expiry),
        "user": {
            "id": _id_of(who["name"]),
            "name": who["name"],
            "domain": _domain(user.domain),
            "password_expires_at": "",
        },
        "roles": [{"id": "0", "name": "te_admin"}],
        **scope,
    }
    return Answer(201, {"token": about}, {"X-Subject-Token": token}, acted=True)


def _scope(asked: Mapping[str, Any], domain: str, projects: Mapping[str, Named]) -> dict[str, Json]:
    """Return the token's scope; that of the whole domain if none is asked for."""
    if "project" in asked:
        ((field, wanted),) = asked["project"].items()
        for id_, project in projects.items():
            if wanted == (id_ if field == "id" else project.name):
                return {"project": {"id": id_, "name": project.name, "domain": _domain(domain)}}
        known = some(projects if field == "id" else (project.name for project in projects.values()))
        raise LookupError(f"The project could not be found by {field}; the mock has {known}.")
    of_user = {"id": _id_of(domain), "name": domain}
    ((field, wanted),) = asked.get("domain", {"name": domain}).items()
    if wanted != of_user[field]:
        raise LookupError(f"The domain could not be found by {field}; the user's is {of_user[field]}.")
    return {"domain": _domain(domain)}


def _domain(name: str) -> Json:
    return {"id": _id_of(name), "name": name}


def _error(status: int, message: str) -> Answer:
    title = {400: "Bad Request", 401: "Unauthorized", 404: "Not Found"}[status]
    return Answer(status, {"error": {"code": status, "message": message, "title": title}})


def _id_of(name: str) -> str:
    """Make an ID of the usual form, 32 hexadecimal digits, for what has a name only."""
    return hashlib.sha256(name.encode()).hexdigest()[:32]


def _time(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
