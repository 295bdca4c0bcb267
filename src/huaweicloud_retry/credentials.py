"""Finds credentials in the environment, or in the profile file of the official SDK.

the SDK's variables -> Terraform's HW_ ones -> its OS_ ones -> the file; the first that has any is used
Sources of the names: huaweicloudsdkcore 3.1.219, auth/provider.py; terraform-provider-huaweicloud,
docs/index.md. No error shows a value, neither itself nor its cause or context.
"""

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import httpx

from .auth import AkSkAuth, PasswordAuth, TokenAuth, is_sendable, is_unicode
from .endpoints import iam_url
from .runtime.errors import ConfigurationError
from .runtime.redaction import HiddenMapping, Secret

# Kind of value -> its names; the first name that is set is used.
_Names = Mapping[str, tuple[str, ...]]

_SDK: Final[_Names] = {
    "ak": ("HUAWEICLOUD_SDK_AK",),
    "sk": ("HUAWEICLOUD_SDK_SK",),
    "security_token": ("HUAWEICLOUD_SDK_SECURITY_TOKEN",),
    "project_id": ("HUAWEICLOUD_SDK_PROJECT_ID",),
}
_HW: Final[_Names] = {
    "ak": ("HW_ACCESS_KEY",),
    "sk": ("HW_SECRET_KEY",),
    "security_token": ("HW_SECURITY_TOKEN",),
    "token": ("HW_AUTH_TOKEN",),
    "user": ("HW_USER_NAME",),
    "password": ("HW_USER_PASSWORD",),
    "domain": ("HW_DOMAIN_NAME",),
    "project_id": ("HW_PROJECT_ID",),
}
_OS: Final[_Names] = {
    "ak": ("OS_ACCESS_KEY",),
    "sk": ("OS_SECRET_KEY",),
    "security_token": ("OS_SECURITY_TOKEN",),
    "token": ("OS_AUTH_TOKEN",),
    "user": ("OS_USERNAME",),
    "password": ("OS_PASSWORD",),
    "domain": ("OS_DOMAIN_NAME", "OS_USER_DOMAIN_NAME", "OS_PROJECT_DOMAIN_NAME"),
    "project_id": ("OS_PROJECT_ID",),
}
_FILE: Final[_Names] = {key: (key,) for key in ("ak", "sk", "security_token", "project_id")}
_DEFAULT_PROFILE: Final = "basic"
_FILE_VARIABLE: Final = "HUAWEICLOUD_SDK_CREDENTIALS_FILE"

PROJECT_VARIABLES: Final = tuple(names["project_id"][0] for names in (_SDK, _HW, _OS))

# Credentials that the SDK or Terraform support and we do not. Reported only if there are no others.
_UNSUPPORTED_KEYS: Final = ("idp_id", "id_token_file")
_UNSUPPORTED: Final = (
    "HUAWEICLOUD_SDK_IDP_ID",
    "HUAWEICLOUD_OIDC_PROVIDER_URN",
    "HC_CONTAINER_CREDENTIALS_FULL_URI",
    "HW_SHARED_CONFIG_FILE",
)
_ADVICE: Final = "Set HUAWEICLOUD_SDK_AK and HUAWEICLOUD_SDK_SK, or give credentials="


def find_credentials(
    region: str | None, environ: Mapping[str, str], home: Path | None = None, *, profile: str | None = None
) -> httpx.Auth:
    """Return the first credentials found. Empty values count as absent.

    Looks in the environment (the official SDK's names, then Terraform's with HW_, then those with OS_), then
    in the SDK's profile file (`~/.huaweicloud/credentials` or HUAWEICLOUD_SDK_CREDENTIALS_FILE). In each
    place: access key and secret key, else a token, else user and password. The file has only keys, and keys
    need no IAM, so its iam_endpoint is not used.

    Args:
        region: Region of the service; a password gets tokens of the region's IAM.
        environ: Such as `os.environ`.
        home: Folder of `.huaweicloud`; by default the user's home.
        profile: Look only in this section of the file. By default [basic], after the environment.

    Returns:
        An `AkSkAuth`, `TokenAuth` or `PasswordAuth`.

    Raises:
        ConfigurationError: There are no credentials, or the first ones are incomplete; a value cannot be
            sent; the file cannot be read; IAM's URL is invalid.

    Warns:
        UserWarning: Users other than its owner can read or change the file.
    """
    for names in () if profile else (_SDK, _HW, _OS):
        if auth := _auth(_Source("the environment", names, environ), region, environ):
            return auth
    file, section = _section(environ, home, profile)
    source = _Source(f"[{profile or _DEFAULT_PROFILE}] of {file}", _FILE, section)
    if auth := _auth(source, region, environ):
        return auth
    if others := [key for key in _UNSUPPORTED_KEYS if section.get(key)]:
        raise ConfigurationError(
            f"{source.where} has {' and '.join(others)}, which is not supported. {_ADVICE}"
        )
    if profile:
        raise ConfigurationError(f"no credentials in {source.where}: it needs ak and sk")
    unsupported = [name for name in _UNSUPPORTED if environ.get(name)]
    hint = f". Set, but not supported: {', '.join(unsupported)}" if unsupported else ""
    raise ConfigurationError(
        "no credentials, neither in the environment (HUAWEICLOUD_SDK_AK, HW_ACCESS_KEY, HW_AUTH_TOKEN, "
        "HW_USER_NAME, OS_ACCESS_KEY, OS_AUTH_TOKEN, OS_USERNAME) nor in "
        f"{source.where}. {_ADVICE}{hint}"
    )


def find_project_id(
    environ: Mapping[str, str], home: Path | None = None, *, profile: str | None = None
) -> str | None:
    """Return the project ID of the profile, if one is given; else of the environment, else of [basic].

    Raises:
        ConfigurationError: The file cannot be read, or has no such profile.
    """
    if profile and (named := _section(environ, home, profile)[1].get("project_id")):
        return named
    of_environment = next((value for name in PROJECT_VARIABLES if (value := environ.get(name))), None)
    if profile or of_environment:
        return of_environment
    return _section(environ, home, None)[1].get("project_id") or None


class _Source:
    """A place that may hold credentials, and their names there."""

    def __init__(self, where: str, names: _Names, values: Mapping[str, str]) -> None:
        self.where = where
        self._names = names
        self._values = HiddenMapping(values)

    def get(self, kind: str) -> Secret[str] | None:
        name = self.name(kind)
        if name is None:
            return None
        # The auth classes check this too, but do not know the variable's name.
        is_json = kind in ("user", "password", "domain")  # the others are sent in headers
        if is_json and not is_unicode(self._values[name]):
            raise ConfigurationError(f"{name} in {self.where} must be UTF-8")
        if not is_json and not is_sendable(self._values[name]):
            must = "must be printable ASCII, without blanks or line breaks around it"
            raise ConfigurationError(f"{name} in {self.where} {must}")
        return Secret(self._values[name])

    def all(self, *kinds: str, seen: tuple[str, ...]) -> list[Secret[str]] | None:
        """Return all of `kinds`, which are of no use alone; None if the source has none of `seen`."""
        present = [name for kind in seen if (name := self.name(kind))]
        if not present:
            return None
        if missing := [" or ".join(self._names[kind]) for kind in kinds if not self.name(kind)]:
            raise ConfigurationError(
                f"incomplete credentials: {self.where} has {', '.join(present)}, "
                f"but not {', '.join(missing)}. Add what is missing, or remove {', '.join(present)}"
            )
        return [value for kind in kinds if (value := self.get(kind))]

    def name(self, kind: str) -> str | None:
        """Return the name under which the source has a value, if it has one."""
        return next((name for name in self._names.get(kind, ()) if self._values.get(name)), None)


def _auth(
    source: _Source, region: str | None, environ: Mapping[str, str]
) -> AkSkAuth | TokenAuth | PasswordAuth | None:
    """Return the auth of a source. A project that it names is no limit: each request uses its own."""
    if keys := source.all("ak", "sk", seen=("ak", "sk", "security_token")):
        options = ("project_id", "security_token")
        given = {kind: value.reveal() for kind in options if (value := source.get(kind))}
        return AkSkAuth(keys[0].reveal(), keys[1].reveal(), **given)
    if token := source.get("token"):
        return TokenAuth(token.reveal())
    if login := source.all("user", "password", "domain", seen=("user", "password")):
        user, password, domain = login
        return PasswordAuth(
            user.reveal(),
            password.reveal(),
            domain_name=domain.reveal(),
            iam_endpoint=iam_url(region, environ),
        )
    return None


def _section(
    environ: Mapping[str, str], home: Path | None, profile: str | None
) -> tuple[Path, Mapping[str, str]]:
    """Return the path of the credentials file, and a section of it."""
    named = environ.get(_FILE_VARIABLE)
    try:
        file = Path(named) if named else (home or Path.home()) / ".huaweicloud" / "credentials"
    except RuntimeError:  # no HOME, and the user is not in the system's user database
        if profile:
            text = f"profile {profile!r}: set HOME, or {_FILE_VARIABLE}, to find the file"
            raise ConfigurationError(text) from None
        return Path("~/.huaweicloud/credentials"), {}
    return file, _read(file, profile, wanted=bool(named or profile))


def _read(file: Path, profile: str | None, *, wanted: bool) -> Mapping[str, str]:
    """Return a profile, by default [basic], which may be missing; so may the file, unless it is `wanted`."""
    try:
        with file.open("rb") as stream:
            mode, data = os.fstat(stream.fileno()).st_mode, Secret(stream.read())
    except OSError as error:
        if isinstance(error, FileNotFoundError | NotADirectoryError) and not wanted:
            return {}
        hint = f"; {_FILE_VARIABLE} names it" if wanted else ""
        if profile:
            hint = f"; profile {profile!r} must be in this file"
        raise ConfigurationError(f"{file} cannot be read: {error.strerror}{hint}") from error
    if os.name == "posix" and mode & 0o066:
        warnings.warn(f"others can read or change your credentials: chmod 600 {file}", stacklevel=4)
    values, problem = _parsed(file, data, profile)
    # Raised outside the except clause: the parser's error quotes the line, and would be the context.
    if problem is not None:
        raise ConfigurationError(problem)
    return values


def _parsed(file: Path, data: Secret[bytes], profile: str | None) -> tuple[Mapping[str, str], str | None]:
    """Return a profile, or what is wrong with the file. Interpolates % as the SDK does."""
    import configparser  # noqa: PLC0415 - most users have no such file

    parser, section = configparser.ConfigParser(), profile or _DEFAULT_PROFILE
    values: dict[str, str] = {}
    key = ""
    try:
        parser.read_string(data.reveal().decode("utf-8-sig"))  # editors on Windows begin a file with a BOM
        if profile and not parser.has_section(profile):
            known = ", ".join(parser.sections()) or "none"
            return {}, f"{file} has no profile {profile!r}; there are: {known}"
        for key in (*_FILE, *_UNSUPPORTED_KEYS):
            values[key] = parser.get(section, key, fallback="")
    except UnicodeDecodeError as error:
        line = 1 + data.reveal().count(b"\n", 0, error.start)
        return {}, f"{file}:{line}: this is not UTF-8"
    except configparser.InterpolationError:
        return {}, f"{file}: {key} of [{section}]: write %% for a %"
    except configparser.Error as error:
        line = getattr(error, "lineno", None) or getattr(error, "errors", [(1, "")])[0][0]
        twice = isinstance(error, configparser.DuplicateSectionError | configparser.DuplicateOptionError)
        problem = (
            "this section or key is a duplicate" if twice else "this is neither [section] nor key = value"
        )
        return {}, f"{file}:{line}: {problem}"
    return HiddenMapping(values), None
