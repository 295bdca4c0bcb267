"""Functions for the templates: annotations, names, and code of single expressions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import attrs
from openapi_python_client.config import ClassOverride
from openapi_python_client.parser.properties import ModelProperty
from openapi_python_client.schema.untrusted_string import UntrustedString
from openapi_python_client.strings import PythonIdentifier, safe_for_docstring

from document import keys_of
from plain_schemas import DEFAULTS, EXACTLY_ONE, NEEDED, READ_ONLY, SETS, TEXTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from openapi_python_client.config import Config
    from openapi_python_client.parser import GeneratorData

    from document import Document, Place
    from plain import GeneratedOperation, Parameter, Plain, SuccessResponse

# Names that generated modules import. The class of a schema with such a name gets the suffix `Model`.
TAKEN_CLASSES = (
    *("Annotated", "Any", "ClassVar", "Client", "Discriminator", "File", "Literal", "Model", "OpenModel"),
    *("Response", "UNSET", "UUID", "Unset"),
)
# Names of a model's base class, and names that an operation's functions use.
TAKEN_FIELDS = "additional_keys", "additional_properties", "from_dict", "to_dict"
TAKEN_ARGUMENTS = "asyncio_detailed", "body", "content", "status_code", "sync_detailed"
ERROR_CLASSES = {
    "400": "BadRequestError",
    "401": "AuthenticationError",
    "403": "PermissionDeniedError",
    "404": "NotFoundError",
    "405": "MethodNotAllowedError",
    "429": "RateLimitError",
}
# In a union, the most specific type comes first: any text is a str.
LAST = ("float", "str", "dict[str, Any]", "Any", "None")
BARE = {
    "AnyProperty": "Any",
    "BooleanProperty": "bool",
    "DateProperty": "datetime.date",
    "DateTimeProperty": "datetime.datetime",
    "FloatProperty": "float",
    "IntProperty": "int",
    "NoneProperty": "None",
    "StringProperty": "str",
    "UuidProperty": "UUID",
}
PROVIDED = (
    *("argument", "argument_text", "annotation", "body_text", "body_type", "declaration", "error_texts"),
    *("imports_of", "is_checked", "model_text", "operation_of", "path_code", "sent_as", "sets_of"),
    *("successes_of", "timeout_name", "write_arguments"),
)


class RenderedSuccess(NamedTuple):
    """A success response, for the template."""

    status: str
    condition: str
    kind: str
    type: str
    description: str
    headers: list[str]
    accept: str | None


def override_taken_classes(config: Config) -> None:
    """Rename schemas that have the name of something that generated modules import."""
    for name in TAKEN_CLASSES:
        names = {"class_name": f"{name}Model", "module_name": f"{name.lower()}_model"}
        override = ClassOverride.model_validate(names)
        config.class_overrides.setdefault(name, override)


class Rendering:
    """Gives the templates what the generator parsed, and what `Plain` kept."""

    def __init__(self, spec: Document, plain: Plain, data: GeneratorData, config: Config) -> None:
        self.spec, self.plain, self.data, self.config = spec, plain, data, config
        self.models: dict[str, Any] = {str(model.class_info.name): model for model in data.models}
        self.enums: dict[str, Any] = {str(enum.class_info.name): enum for enum in data.enums}
        self.operations = {(PythonIdentifier(each.tag, "tag"), each.file): each for each in plain.operations}
        self.discriminators = self._discriminators()
        self.sent, self.received, self.uploaded, self.written = set[str](), set[str](), set[str](), set[str]()
        for endpoint in self._endpoints():
            operation = self.operation_of(endpoint)
            for parameter in endpoint.list_all_parameters():
                self._reach(parameter, self.sent)
            for body in endpoint.bodies:
                self._reach(body.prop, self.sent)
                is_upload = operation.body is not None and operation.body.kind == "multipart"
                self._reach(body.prop, self.uploaded if is_upload else self.written)
            for response in endpoint.responses:
                self._reach(response.prop, self.received)
                self._reach(response.prop, self.written)
        for model in data.models:
            for field in fields_of(model):
                if text := extras(model, TEXTS).get(plain_text(field.name)):
                    field.description = UntrustedString(text)
            self._require_by_direction(model)

    def provide(self, environment: Any) -> None:
        """Add the functions to the templates' environment."""
        environment.filters.update(docstring=docstring, docstring_line=docstring_line, code=repr)
        for name in PROVIDED:
            environment.globals[name] = getattr(self, name)

    # --- before anything is written ---

    def problems(self) -> Iterator[str]:
        """Rename fields and arguments with taken names; yield name conflicts, and forms without fields."""
        for model in self.data.models:
            yield from self._conflicts(fields_of(model), "field")
            for each in fields_of(model):
                if each.python_name in TAKEN_FIELDS:
                    name = UntrustedString(f"{plain_text(each.name)}_")
                    each.set_python_name(name, self.config, skip_snake_case=True)
        for endpoint in self._endpoints():
            operation = self.operation_of(endpoint)
            for location in ("path", "query", "header", "cookie"):
                parameters = getattr(endpoint, f"{location}_parameters")
                yield from self._conflicts(parameters, "parameter", operation)
            self._rename_arguments(endpoint)
            is_form = operation.body is not None and operation.body.kind in ("form", "multipart")
            if is_form and any(not isinstance(body.prop, ModelProperty) for body in endpoint.bodies):
                yield self.spec.at((*operation.place, "requestBody"), "a form needs a schema with properties")

    def _rename_arguments(self, endpoint: Any) -> None:
        names = {str(each.python_name) for _, each in endpoint.iter_all_parameters()}
        for location, each in endpoint.iter_all_parameters():
            if each.python_name in TAKEN_ARGUMENTS:
                name = unused(f"{each.python_name}_{location.value}", names)
                each.set_python_name(UntrustedString(name), self.config, skip_snake_case=True)
                names.add(name)

    def timeout_name(self, endpoint: Any) -> str:
        """Return the name of the timeout argument; a parameter of the contract may be called timeout, too."""
        names = {str(each.python_name) for _, each in endpoint.iter_all_parameters()}
        return unused("request_timeout", names) if "timeout" in names else "timeout"

    def _conflicts(
        self, fields: list[Any], what: str, operation: GeneratedOperation | None = None
    ) -> Iterator[str]:
        """Find names that are equal in Python. The generator would rename both, which breaks callers."""
        seen: dict[str, str] = {}
        for each in fields:
            name = each.name.get_untrusted_value()
            python_name = PythonIdentifier(name, self.config.field_prefix)
            if (other := seen.setdefault(python_name, name)) != name:
                place, line = self._places(other, name, operation)
                both = f"{other} (line {line}) and {name}"
                yield self.spec.at(
                    place, f"the {what}s {both} both become {python_name} in Python; rename one"
                )

    def _places(self, one: str, other: str, operation: GeneratedOperation | None) -> tuple[Place, int]:
        """Return the place of the second of two names, and the line of the first."""
        top: Place = operation.place[:-1] if operation is not None else ()
        found: dict[str, list[Place]] = {one: [], other: []}
        for place, value in self.spec.walk(top, self.spec.find(top)[1]):
            name: Any = place[-1] if len(place) > 1 and place[-2] == "properties" else None
            if operation is not None:
                name = value.get("name") if "in" in keys_of(value) else None
            if name in found:
                found[name].append(place)
        for first in found[one]:
            for second in found[other]:
                if first[:-1] == second[:-1]:  # in the same object
                    return second, self.spec.find(first)[2]
        first, second = (next(iter(found[name]), top) for name in (one, other))
        return second, self.spec.find(first)[2]

    def _endpoints(self) -> Iterator[Any]:
        for collection in self.data.endpoint_collections_by_tag.values():
            yield from collection.endpoints

    def _discriminators(self) -> dict[frozenset[str], str]:
        """Return code of the discriminator of each union, by the classes of its models."""
        prefix = "/components/schemas/"  # of the names of named schemas
        classes: dict[str, str] = {}
        for model in self.data.models:
            name = model.name.get_untrusted_value()
            if name.startswith(prefix):
                classes[name.removeprefix(prefix)] = str(model.class_info.name)
        made: dict[frozenset[str], str] = {}
        for names, noted in self.plain.schemas.discriminators.items():
            if noted is not None and all(name in classes for name in names):
                field, values = noted
                models = {value: classes[name] for value, name in values.items()}
                made[frozenset(classes[name] for name in names)] = f"Discriminator({field!r}, {models!r})"
        return made

    def _reach(self, prop: Any, found: set[str]) -> None:
        """Add every model that a value may contain."""
        for inner in getattr(prop, "inner_properties", ()):
            self._reach(inner, found)
        if hasattr(prop, "inner_property"):
            self._reach(prop.inner_property, found)
        if isinstance(prop, ModelProperty) and (name := str(prop.class_info.name)) not in found:
            found.add(name)
            model = self.models.get(name, prop)
            for each in (*fields_of(model), model.additional_properties):
                self._reach(each, found)

    def _require_by_direction(self, model: Any) -> None:
        """Make fields required that one direction needs, if the model is used in that direction only."""
        needed: dict[str, str] = extras(model, NEEDED)
        name = str(model.class_info.name)
        is_sent, is_received = name in self.sent, name in self.received or name not in self.sent
        for each in list(model.optional_properties):
            direction = needed.get(each.name.get_untrusted_value())
            if (direction == "request" and not is_received) or (direction == "response" and not is_sent):
                model.optional_properties.remove(each)
                # A copy, since an inheriting model may share the field.
                model.required_properties.append(attrs.evolve(each, required=True))

    # --- types ---

    def annotation(self, prop: Any, model: Any = None) -> str:
        """Return the annotation of a field of a model, or of a parameter."""
        kinds = self._kinds(prop, model)
        if not prop.required:
            kinds.append("Unset")
        return " | ".join(kinds)

    def _kinds(self, prop: Any, model: Any, *, is_open: bool = False) -> list[str]:
        """Return the types of a union, or the single type; `is_open`: also for unlisted values."""
        name = str(model.class_info.name) if model is not None else ""
        is_open = is_open or (model is not None and (name in self.received or name not in self.sent))
        kind = type(prop).__name__
        made = [BARE.get(kind) or str(getattr(prop, "class_info", prop).name)]
        if kind == "UnionProperty":
            inner: dict[str, None] = {}
            for each in prop.inner_properties:
                inner |= dict.fromkeys(self._kinds(each, model, is_open=is_open))
            made = self._discriminated(
                sorted(inner, key=lambda each: LAST.index(each) if each in LAST else -1)
            )
        elif kind == "ListProperty":
            made = [f"list[{' | '.join(self._kinds(prop.inner_property, model, is_open=is_open))}]"]
        elif kind == "FileProperty":
            made = ["str"]
            if name in self.uploaded:
                made = ["File", "str"] if name in self.written else ["File"]
        elif kind == "ConstProperty":
            value = prop.value.raw_value
            made = [f"Literal[{value!r}]", *([type(value).__name__] if is_open else [])]
        elif kind == "LiteralEnumProperty" and is_open:
            made.append(prop.value_type.__name__)
        return made

    def _discriminated(self, kinds: list[str]) -> list[str]:
        """Add the discriminator to a union, if it has one."""
        discriminator = self.discriminators.get(frozenset(each for each in kinds if each in self.models))
        return [f"Annotated[{' | '.join(kinds)}, {discriminator}]"] if discriminator else kinds

    def is_checked(self, endpoint: Any, parameter: Any) -> bool:
        """Return whether a parameter's type is checked. Path parameters accept anything that has a text."""
        words = set(re.findall(r"\w+", self.annotation(parameter)))
        is_listed = "Literal" in words or not words.isdisjoint(self.enums)
        return is_listed or ("Any" not in words and parameter not in endpoint.path_parameters)

    def body_text(self, endpoint: Any) -> str:
        """Return the line of the docstring about the body."""
        body = self.operation_of(endpoint).body
        description = body.description if body else ""
        return docstring_line(f"body ({self.body_type(endpoint)}): {description or 'The body.'}")

    def body_type(self, endpoint: Any) -> str:
        """Return the annotation of the body, without Unset."""
        if type(endpoint.bodies[0].prop).__name__ == "FileProperty":
            return "bytes"
        return " | ".join(self._kinds(endpoint.bodies[0].prop, None))

    def successes_of(self, endpoint: Any) -> list[RenderedSuccess]:
        """Return the success responses."""
        parsed = {each.status_code.pattern: each for each in endpoint.responses}
        return [self._success(each, parsed[each.status]) for each in self.operation_of(endpoint).successes]

    def _success(self, success: SuccessResponse, response: Any) -> RenderedSuccess:
        types = {"none": "None", "text": "str", "bytes": "bytes"}
        annotation = types.get(success.kind) or " | ".join(self._kinds(response.prop, None, is_open=True))
        is_exact = success.status.isdecimal()
        condition = f"status_code == {success.status}" if is_exact else "200 <= status_code <= 299"
        return RenderedSuccess(success.status, condition, success.kind, annotation, *success[2:])

    def error_texts(self, endpoint: Any) -> Iterator[str]:
        """Yield the lines of the docstring about the error statuses."""
        for status, description in self.operation_of(endpoint).errors.items():
            by_status = "InternalServerError" if status.startswith("5") else "APIStatusError"
            yield f"{ERROR_CLASSES.get(status, by_status)}: {status}. {docstring_line(description)}"

    def imports_of(self, owner: Any) -> list[str]:
        """Return the imports of the models and enums in a module's annotations."""
        if isinstance(owner, ModelProperty):
            prefix, props = ".", [*fields_of(owner), owner.additional_properties]
        else:
            prefix = "...models."
            props = [*owner.list_all_parameters(), *(each.prop for each in (*owner.bodies, *owner.responses))]
        classes: dict[str, str] = {}
        for prop in props:
            self._classes(prop, classes)
        if isinstance(owner, ModelProperty):
            classes.pop(str(owner.class_info.name), None)
        return [f"from {prefix}{module} import {name}" for name, module in sorted(classes.items())]

    def _classes(self, prop: Any, found: dict[str, str]) -> None:
        for inner in getattr(prop, "inner_properties", ()):
            self._classes(inner, found)
        if hasattr(prop, "inner_property"):
            self._classes(prop.inner_property, found)
        if hasattr(prop, "class_info"):
            found[str(prop.class_info.name)] = prop.class_info.module_name

    # --- models ---

    def metadata_of(self, model: Any, field: Any) -> dict[str, Any]:
        """Return what the runtime needs to know about a field in addition to its name and type."""
        name, made = field.name.get_untrusted_value(), dict[str, Any]()
        if name != field.python_name:
            made["name"] = name
        direction = extras(model, NEEDED).get(name)
        if direction and not field.required:
            made["needed_in"] = direction
        if name in extras(model, READ_ONLY):
            made["read_only"] = True
        return made

    def declaration(self, model: Any, field: Any) -> str:
        """Return the line that declares a field."""
        default = "" if field.required else "UNSET"
        if field.default is not None:
            default = self._default(field, extras(model, DEFAULTS).get(plain_text(field.name)), model)
        if metadata := self.metadata_of(model, field):
            arguments = [f"default={default}"] if default else []
            default = f"_field({', '.join([*arguments, f'metadata={metadata}'])})"
        declared = f"{field.python_name}: {self.annotation(field, model)}"
        return f"{declared} = {default}" if default else declared

    def sets_of(self, model: Any) -> tuple[tuple[tuple[str, ...], ...], bool]:
        """Return the sets of fields of which one must be given, and whether only one may."""
        sets = extras(model, SETS)
        return tuple(tuple(each) for each in sets), bool(extras(model, EXACTLY_ONE))

    def model_text(self, model: Any) -> str:
        """Return the text about a model."""
        texts = ["Deprecated."] if model.data.deprecated else []
        texts += [plain_text(model.description).strip()] if model.description else []
        if model.example:
            texts.append(f"Example:\n    {model.example.get_untrusted_value()}")
        return "\n\n".join(texts) or str(model.class_info.name)

    def _default(self, prop: Any, value: Any, model: Any = None) -> str:
        """Return code of a default. The generator escapes strings twice, and quotes defaults of unions."""
        code: str = prop.default.python_code.as_unembedded_code()
        kinds = self._kinds(prop, model)
        if type(value) is float and "float" not in kinds:
            return code  # an integer, which the spec may have as 1.0
        is_text = "str" in kinds or any("Literal" in kind or kind in self.enums for kind in kinds)
        return repr(value) if value is not None and (is_text or not isinstance(value, str)) else code

    # --- operations ---

    def operation_of(self, endpoint: Any) -> GeneratedOperation:
        """Return what `Plain` kept of an operation."""
        return self.operations[endpoint.tags[0], f"api/{endpoint.tags[0]}/{endpoint.name}.py"]

    def argument(self, endpoint: Any, parameter: Any) -> str:
        """Return the declaration of a parameter."""
        default = "" if parameter.required else " = UNSET"
        if parameter.default is not None:
            default = f" = {self._default(parameter, self.sent_as(endpoint, parameter).default)}"
        positional: list[Any] = endpoint.path_parameters
        if parameter in positional:
            following = positional[positional.index(parameter) :]
            if any(each.default is None for each in following):
                default = ""  # Python allows no default before an argument without one
        return f"{parameter.python_name}: {self.annotation(parameter)}{default}"

    def argument_text(self, endpoint: Any, parameter: Any) -> str:
        """Return the line of the docstring about a parameter."""
        text = f"{parameter.python_name} ({self.annotation(parameter)}):"
        sent = self.sent_as(endpoint, parameter)
        if sent.is_deprecated:
            text += " Deprecated."
        text += f" {sent.description}"
        if parameter.default is not None:
            text += f" Default: {self._default(parameter, sent.default)}."
        if sent.example:
            text += f" Example: {sent.example}."
        return docstring_line(text)

    def sent_as(self, endpoint: Any, parameter: Any) -> Parameter:
        """Return how a parameter is sent."""
        location = next(where.value for where, each in endpoint.iter_all_parameters() if each is parameter)
        return self.operation_of(endpoint).parameters[location, parameter.name.get_untrusted_value()]

    def write_arguments(self, endpoint: Any, parameter: Any) -> str:
        """Return code of the arguments of the function that serializes a parameter."""
        sent = self.sent_as(endpoint, parameter)
        made = [repr(sent.name), str(parameter.python_name)]
        if sent.location == "cookie":
            return ", ".join(made)
        if sent.style not in ("form", "simple"):
            made.append(repr(sent.style))
        if sent.explode != (sent.location == "query"):
            made.append(f"explode={sent.explode}")
        if sent.allow_reserved:
            made.append("allow_reserved=True")
        return ", ".join(made)

    def path_code(self, endpoint: Any) -> str:
        """Return code that makes the path."""
        operation = self.operation_of(endpoint)
        writers = {each.name.get_untrusted_value(): each for each in endpoint.path_parameters}
        parts = re.split(r"{([^{}]+)}", operation.title.partition(" ")[2])
        made: list[str] = []
        for at, part in enumerate(parts):
            if at % 2:
                made.append(f"_write.path({self.write_arguments(endpoint, writers[part])})")
            elif part:
                made.append(repr(part))
        return " + ".join(made)


def unused(name: str, names: set[str]) -> str:
    """Return a name that is not among others."""
    return unused(f"{name}_", names) if name in names else name


def fields_of(model: Any) -> list[Any]:
    """Return the fields of a model."""
    return [*(model.required_properties or ()), *(model.optional_properties or ())]


def extras(model: Any, key: str) -> Any:
    """Return what plain_schemas.py noted about a model."""
    known: dict[str, Any] = model.data.model_extra or {}
    return known.get(key, {})


def plain_text(text: Any) -> str:
    """Return text of the spec, without the generator's wrapper."""
    return text.get_untrusted_value() if isinstance(text, UntrustedString) else str(text or "")


def docstring(text: Any) -> str:
    """Return text that is safe between triple quotes."""
    safe = safe_for_docstring(plain_text(text)).strip()
    return safe[:-1] + '\\"' if safe.endswith('"') else safe


def docstring_line(text: Any) -> str:
    """Return text in one line, for a docstring."""
    return docstring(" ".join(plain_text(text).split()))
