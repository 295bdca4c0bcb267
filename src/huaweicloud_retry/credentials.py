"""Credentials that are there already: in the environment, or in the profile file of the official SDK.

the SDK's variables -> Terraform's HW_ ones -> its OS_ ones -> the file; the first that has any is the one that counts
Names by huaweicloudsdkcore 3.1.219, auth/provider.py, and terraform-provider-huaweicloud, docs/index.md. No value is ever
shown, by no error, its cause or its context.
"""

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import httpx

from .auth import AkSkAuth, PasswordAuth, TokenAuth, is_sendable
from .endpoints import iam_url
from .runtime.errors import ConfigurationError
from .runtime.redaction import HiddenMapping, Secret

_Names = Mapping[
    str, tuple[str, ...]
]  # what a value is for -> what it may be called, the first that is there counts

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

# Ways of the SDK and of Terraform that are not ours. Told only to who has nothing else.
_UNSUPPORTED_KEYS: Final = ("idp_id", "id_token_file")
_UNSUPPORTED: Final = (
    "HUAWEICLOUD_SDK_IDP_ID",
    "HUAWEICLOUD_OIDC_PROVIDER_URN",
    "HC_CONTAINER_CREDENTIALS_FULL_URI",
    "HW_SHARED_CONFIG_FILE",
)
_TO_MEND: Final = "Set HUAWEICLOUD_SDK_AK and HUAWEICLOUD_SDK_SK, or give credentials="


def find_credentials(
    region: str | None, environ: Mapping[str, str], home: Path | None = None, *, profile: str | None = None
) -> httpx.Auth:
    """Return the first credentials that are there. Empty values count as absent.

    Looked for in the environment under the official SDK's names, Terraform's with HW_ and those with OS_; then in the
    SDK's profile file, `~/.huaweicloud/credentials` or HUAWEICLOUD_SDK_CREDENTIALS_FILE. In each: access key and secret
    key, else a token, else user and password. The file has keys only, and keys need no IAM, so its iam_endpoint is not used.

    Args:
        region: Of the service: a password gets tokens of the region's IAM.
        environ: Such as `os.environ`.
        home: Where `.huaweicloud` is; by default the user's home, looked for only if the environment has no credentials.
        profile: A section of the file, which is then the only place that is looked at; by default [basic], last of all.

    Returns:
        An `AkSkAuth`, `TokenAuth` or `PasswordAuth`.

    Raises:
        ConfigurationError: nothing was found, or half of something, which is not passed over in favour of the next; a
            value cannot be sent; the file cannot be read; IAM's URL will not do.

    Warns:
        UserWarning: others than its owner can read or change the file.
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
            f"{source.where} has {' and '.join(others)}, which is not supported. {_TO_MEND}"
        )
    if profile:
        raise ConfigurationError(f"no credentials in {source.where}: it needs ak and sk")
    unsupported = [name for name in _UNSUPPORTED if environ.get(name)]
    raise ConfigurationError(
        "no credentials, neither in the environment (HUAWEICLOUD_SDK_AK, HW_ACCESS_KEY, HW_AUTH_TOKEN, HW_USER_NAME, "
        "OS_ACCESS_KEY, OS_AUTH_TOKEN, OS_USERNAME and what belongs to each) nor in "
        f"{source.where}. {_TO_MEND}"
        + (f". Set, but not supported: {', '.join(unsupported)}" if unsupported else "")
    )


def find_project_id(
    environ: Mapping[str, str], home: Path | None = None, *, profile: str | None = None
) -> str | None:
    """Return the project ID of the profile, if one is named; else of the environment, else of [basic]; else None.

    Raises:
        ConfigurationError: The file cannot be read, or has no such profile.
    """
    named = _section(environ, home, profile)[1].get("project_id") if profile else None
    of_environment = next((value for name in PROJECT_VARIABLES if (value := environ.get(name))), None)
    return (
        named
        or of_environment
        or (None if profile else _section(environ, home, None)[1].get("project_id") or None)
    )


class _Source:
    """A place that may hold credentials, and what it calls them."""

    def __init__(self, where: str, names: _Names, values: Mapping[str, str]) -> None:
        self.where = where
        self._names = names
        self._values = HiddenMapping(values)

    def get(self, what: str) -> Secret[str] | None:
        name = self.name(what)
        if name is None:
            return None
        # The auth classes would refuse it too, but cannot know its name. User, password and so on go into JSON.
        if what in ("user", "password", "domain"):
            good, must_be = _is_unicode(self._values[name]), "UTF-8"
        else:
            good, must_be = (
                is_sendable(self._values[name]),
                "printable ASCII, without blanks or line breaks around it",
            )
        if not good:
            raise ConfigurationError(f"{name} in {self.where} must be {must_be}")
        return Secret(self._values[name])

    def all(self, *whats: str, seen: tuple[str, ...]) -> list[Secret[str]] | None:
        """All of these, or None if there is none of `seen`, which are of no use alone."""
        present = [name for what in seen if (name := self.name(what))]
        if not present:
            return None
        if missing := [" or ".join(self._names[what]) for what in whats if not self.name(what)]:
            raise ConfigurationError(
                f"half a credential: {self.where} has {', '.join(present)}, but not {', '.join(missing)}. "
                f"Add what is missing, or remove {', '.join(present)}"
            )
        return [value for what in whats if (value := self.get(what))]

    def name(self, what: str) -> str | None:
        """What it is called here, if it is here."""
        return next((name for name in self._names.get(what, ()) if self._values.get(name)), None)


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in text)


def _auth(
    source: _Source, region: str | None, environ: Mapping[str, str]
) -> AkSkAuth | TokenAuth | PasswordAuth | None:
    """Make what a source has. A project it names is no limit: each request gets its own."""
    if keys := source.all("ak", "sk", seen=("ak", "sk", "security_token")):
        given = {
            what: value.reveal() for what in ("project_id", "security_token") if (value := source.get(what))
        }
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
    """The credentials file, and what a section of it has."""
    named = environ.get(_FILE_VARIABLE)
    try:
        file = Path(named) if named else (home or Path.home()) / ".huaweicloud" / "credentials"
    except RuntimeError:  # no HOME, and no entry of the user in the system's table
        if profile:
            raise ConfigurationError(
                f"profile {profile!r}: set HOME, or {_FILE_VARIABLE}, to find the file"
            ) from None
        return Path("~/.huaweicloud/credentials"), {}
    return file, _read(file, profile, wanted=bool(named or profile))


def _read(file: Path, profile: str | None, *, wanted: bool) -> Mapping[str, str]:
    """What the profile has, by default [basic], which need not be there; nor the file, unless it is `wanted`."""
    try:
        with file.open("rb") as stream:
            mode, data = os.fstat(stream.fileno()).st_mode, Secret(stream.read())
    except OSError as error:
        if isinstance(error, FileNotFoundError | NotADirectoryError) and not wanted:
            return {}
        hint = (
            f"; profile {profile!r} is looked for in it"
            if profile
            else f"; {_FILE_VARIABLE} names it"
            if wanted
            else ""
        )
        raise ConfigurationError(f"{file} cannot be read: {error.strerror}{hint}") from error
    if os.name == "posix" and mode & 0o066:
        warnings.warn(f"others can read or change your credentials: chmod 600 {file}", stacklevel=4)
    values, problem = _parsed(file, data, profile)
    if problem is not None:
        raise ConfigurationError(
            problem
        )  # here, without the parser's error for its context: that one quotes the line
    return values


def _parsed(file: Path, data: Secret[bytes], profile: str | None) -> tuple[Mapping[str, str], str | None]:
    """Return what a profile has, or what is wrong with the file. As the SDK reads it, interpolation of % included."""
    import configparser  # noqa: PLC0415 - most users have no such file

    parser, values, key, section = (
        configparser.ConfigParser(),
        dict[str, str](),
        "",
        profile or _DEFAULT_PROFILE,
    )
    try:
        parser.read_string(data.reveal().decode("utf-8-sig"))  # editors on Windows begin a file with a BOM
        if profile and not parser.has_section(profile):
            return (
                {},
                f"{file} has no profile {profile!r}; there are: {', '.join(parser.sections()) or 'none'}",
            )
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
        what = "is there twice" if twice else "is neither [section] nor key = value"
        return {}, f"{file}:{line}: this {what}"
    return HiddenMapping(values), None
