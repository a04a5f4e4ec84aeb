"""Settings as a commented YAML file, ``key=value`` overrides, and sentences for what is wrong in them."""

from __future__ import annotations

import difflib
import re
import textwrap
import types
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

SettingsT = TypeVar("SettingsT", bound=BaseModel)


class SettingsError(ValueError):
    """The settings cannot be used; the message has one sentence per problem."""


class _Loader(yaml.SafeLoader):
    """YAML 1.2's scalars (1e-3 is a number; no, off and No are texts, and nobelium), and no key twice."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in {"tag:yaml.org,2002:bool", "tag:yaml.org,2002:float"}]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+|\.(?:inf|nan))$"),
    list("-+0123456789."),
)


def _mapping_without_repeats(loader: Any, node: Any, deep: bool = False) -> dict:
    seen: dict = {}
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str | int | float | bool):
            raise yaml.MarkedYAMLError(problem=f"'{key}' cannot be a key", problem_mark=key_node.start_mark)
        if key in seen:
            raise yaml.MarkedYAMLError(
                problem=f"the key '{key}' is given twice (first in line {seen[key] + 1})", problem_mark=key_node.start_mark
            )
        seen[key] = key_node.start_mark.line
    return yaml.SafeLoader.construct_mapping(loader, node, deep=deep)


_Loader.add_constructor(
    yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG,
    lambda loader, node: _mapping_without_repeats(loader, node, deep=True),
)


def parse_yaml(text: str, source: str = "settings") -> Any:
    """The content of a YAML text; raises :class:`SettingsError` with the line of a mistake.

    >>> parse_yaml("lr: 1e-3\\nspecies: [H, No]")
    {'lr': 0.001, 'species': ['H', 'No']}
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise SettingsError(f"{source}{where}: {error.problem or error.context}; this is not valid YAML") from error
    except yaml.YAMLError as error:
        raise SettingsError(f"{source}: not valid YAML ({str(error).splitlines()[0]})") from error


def read_settings(
    settings_class: type[SettingsT],
    path: str | Path | None,
    overrides: Iterable[str] = (),
    defaults: Mapping[str, Any] | None = None,
) -> SettingsT:
    """The settings of a YAML file with ``key=value`` overrides, keys dotted, values YAML, as in ``optimizer.lr=1e-3``.

    Relative paths inside stay as written. Raises :class:`SettingsError` with one sentence per problem, naming the file, the key,
    the value, and what was expected.
    """
    values: dict[str, Any] = dict(defaults or {})
    source = "settings"
    if path is not None:
        source = str(path)
        try:
            content = parse_yaml(Path(path).read_text(encoding="utf-8"), source)
        except FileNotFoundError:
            raise SettingsError(
                f"{path}: there is no such file; 'tesseral config' prints a settings file to start from"
            ) from None
        except IsADirectoryError:
            raise SettingsError(f"{path} is a folder; name a YAML file") from None
        except UnicodeDecodeError:
            raise SettingsError(f"{path} is not UTF-8 text; expected YAML in UTF-8") from None
        except OSError as error:
            raise SettingsError(f"{path} cannot be read: {error.strerror}") from error
        if content is None:
            content = {}
        if not isinstance(content, dict):
            raise SettingsError(
                f"{path} holds no settings: expected 'key: value' lines, found {textwrap.shorten(_describe(content), 80)}; "
                "'tesseral config' prints a settings file to start from"
            )
        values = _merge(values, content)
    for override in overrides:
        values = _merge(values, parse_override(override))
    return validate(settings_class, values, source)


def parse_override(text: str) -> dict[str, Any]:
    """The nested mapping of one ``key=value``.

    >>> parse_override("optimizer.lr=1e-3")
    {'optimizer': {'lr': 0.001}}
    """
    key, sign, value = text.partition("=")
    keys = key.strip().split(".")
    if not sign or not all(keys):
        raise SettingsError(f"'{text}' is not an override; write key=value, as in optimizer.lr=0.001")
    nested: Any = parse_yaml(value, f"override '{text}'")
    for name in reversed(keys):
        nested = {name: nested}
    return nested


def _merge(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(old)
    for key, value in new.items():
        inner = merged.get(key)
        merged[key] = value
        if isinstance(inner, Mapping) and isinstance(value, Mapping):
            # Another name is another kind of thing: it does not inherit the keys of the first.
            renamed = "name" in inner and value.get("name", inner["name"]) != inner["name"]
            merged[key] = value if renamed else _merge(inner, value)
    return merged


def validate(settings_class: type[SettingsT], values: Mapping[str, Any], source: str = "settings") -> SettingsT:
    """An instance of the settings class, or a :class:`SettingsError` with one sentence per problem.

    >>> from tesseral.train.settings import FitSettings
    >>> validate(FitSettings, {"optimiser": {"lr": 0.1}})
    Traceback (most recent call last):
    tesseral.train.settings_file.SettingsError: settings: unknown key 'optimiser'; did you mean 'optimizer'?
    """
    try:
        return settings_class.model_validate(values)
    except ValidationError as error:
        sentences = list(dict.fromkeys(f"{source}: {_sentence(settings_class, problem)}" for problem in error.errors()))
        raise SettingsError("\n".join(sentences)) from None


def _sentence(settings_class: type[BaseModel], problem: Any) -> str:
    location, model = _resolve(settings_class, problem["loc"])
    path = ".".join(location)
    value = problem["input"]
    match problem["type"]:
        case "extra_forbidden":
            known = list(model.model_fields) if model else []
            close = difflib.get_close_matches(location[-1], known, n=1, cutoff=0.5)
            prefix = "".join(f"{name}." for name in location[:-1])
            elsewhere = _find(settings_class, location[-1])
            if elsewhere == path:
                chosen = model.model_fields["name"].default if model else "this"
                return f"unknown key '{path}' for {prefix}name={chosen}; it belongs to another {prefix}name"
            if close:
                return f"unknown key '{path}'; did you mean '{prefix}{close[0]}'?"
            if elsewhere:
                return f"unknown key '{path}'; did you mean '{elsewhere}'?"
            return f"unknown key '{path}'; known keys here: {', '.join(known)}"
        case "missing":
            return f"'{path}' is missing; expected {_expected(settings_class, location)}"
        case "union_tag_not_found":
            return f"'{path}' needs a name: {path}.name is one of {', '.join(_names(settings_class, location))}"
        case "union_tag_invalid":
            tag = problem["ctx"]["tag"]
            tags = re.findall(r"'([^']*)'", problem["ctx"]["expected_tags"])
            close = difflib.get_close_matches(str(tag), tags, n=1, cutoff=0.5)
            hint = f"; did you mean '{close[0]}'?" if close else ""
            return f"'{path}.name' is '{tag}', expected one of {', '.join(tags)}{hint}"
        case "literal_error":
            choices = re.findall(r"'([^']*)'", problem["ctx"]["expected"])
            close = difflib.get_close_matches(str(value), choices, n=1, cutoff=0.5)
            hint = f"; did you mean '{close[0]}'?" if close else ""
            return f"'{path}' is {_describe(value)}, expected one of {', '.join(choices)}{hint}"
        case "too_short" if not value:
            return f"'{path}' is empty; expected {_expected(settings_class, location)}"
        case "value_error":
            reason = str(problem["ctx"]["error"])
            if isinstance(value, Mapping):
                return f"'{path}': {reason}" if path else reason
            return f"'{path}' is {_describe(value)}: {reason}"
        case _:
            reason = problem["msg"][0].lower() + problem["msg"][1:]
            reason = reason.replace("input should be", "expected").replace(", unable to parse string as a number", "")
            reason = reason.replace(", unable to parse string as an integer", "").replace(
                "valid dictionary", "mapping (key: value)"
            )
            reason = reason.replace("input is not a valid path for <class 'pathlib.Path'>", "expected a path")
            if problem["type"] in {"model_type", "model_attributes_type", "dict_type"}:
                reason = "expected a mapping (key: value)"
            return f"'{path}' is {_describe(value)}, {reason}" if path else reason


# What pydantic calls the members of a union of types in the place of an error.
MEMBER = r"^(?:(?:function-|constrained-)[a-z]+|literal\[.*|(?:list|dict|tuple)\[.*|int|float|str|bool|[a-z-]+\(.*\))$"


def _resolve(settings_class: type[BaseModel], location: tuple) -> tuple[list[str], type[BaseModel] | None]:
    """The keys as a user wrote them (pydantic adds names of union members), and the class that holds the last one."""
    keys: list[str] = []
    model: type[BaseModel] | None = settings_class
    candidates: list[type[BaseModel]] = [settings_class]
    inside_field = False
    for index, part in enumerate(location):
        fields: dict[str, FieldInfo] = {name: field for c in candidates for name, field in c.model_fields.items()}
        tagged = [c for c in candidates if "name" in c.model_fields and c.model_fields["name"].default == part]
        if inside_field and tagged and len(candidates) > 1:
            candidates, model = tagged, tagged[0]
            continue
        last = index == len(location) - 1
        if part in fields:
            keys.append(str(part))
            if last:
                return keys, model
            annotation = fields[str(part)].annotation
            of_a_mapping = get_args(annotation)[1] if get_origin(annotation) is dict else annotation  # its key comes next
            candidates = _models_in(of_a_mapping)
            model = candidates[0] if candidates else None
            inside_field = True
        elif keys and isinstance(part, str) and re.match(MEMBER, part):
            continue
        else:
            keys.append(str(part))
    return keys, model


def _names(settings_class: type[BaseModel], location: tuple | list[str]) -> list[str]:
    """The names among which a section chooses its class."""
    classes: list[type[BaseModel]] = [settings_class]
    for part in location:
        classes = [found for c in classes if part in c.model_fields for found in _models_in(c.model_fields[part].annotation)]
    return [str(c.model_fields["name"].default) for c in classes]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """The settings classes that an annotation allows."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) is Annotated:
        return _models_in(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return [model for part in get_args(annotation) for model in _models_in(part)]
    return []


def _find(settings_class: type[BaseModel], name: str, prefix: str = "") -> str | None:
    """The path of a key of this name somewhere deeper."""
    for key, field in settings_class.model_fields.items():
        if key == name and prefix:
            return prefix + key
        for model in _models_in(field.annotation):
            found = _find(model, name, f"{prefix}{key}.")
            if found:
                return found
    return None


def _expected(settings_class: type[BaseModel], location: list[str]) -> str:
    candidates: list[type[BaseModel]] = [settings_class]
    description = "a value"
    for part in location:
        for model in candidates:
            if part in model.model_fields:
                field = model.model_fields[part]
                description = field.description or description
                candidates = _models_in(field.annotation)
                break
    return description


def _describe(value: Any) -> str:
    match value:
        case None:
            return "empty (null)"
        case bool():
            return str(value).lower()
        case str():
            return f"'{value}'"
        case Mapping():
            return "a mapping"
        case list():
            return f"a list of {len(value)}"
        case _:
            return str(value)


def commented_yaml(settings: type[BaseModel] | BaseModel, width: int = 100) -> str:
    """Every key with its value (of an instance) or default (of a class) and its meaning, as a YAML file to edit and use.

    Keys without a default are commented out.

    >>> from tesseral.train.settings import OptimizerSettings
    >>> print(commented_yaml(OptimizerSettings).splitlines()[1])
    name: muon
    """
    return "\n".join(_lines(settings, "", width)) + "\n"


def _lines(settings: type[BaseModel] | BaseModel, indent: str, width: int) -> list[str]:
    settings_class = settings if isinstance(settings, type) else type(settings)
    fields = settings_class.model_fields
    # What has no default comes first: it is what the user must write.
    ordered = sorted(fields, key=lambda name: not fields[name].is_required())
    lines: list[str] = []
    for name in ordered:
        field = fields[name]
        required = isinstance(settings, type) and field.is_required()
        value = (
            (field.get_default(call_default_factory=True) if isinstance(settings, type) else getattr(settings, name))
            if not required
            else None
        )
        note = field.description or ""
        choices = list(get_args(field.annotation)) if get_origin(field.annotation) is Literal else []
        if len(choices) > 1 and not all(str(choice) in note for choice in choices):
            note += f" [{' | '.join(map(str, choices))}]"
        models = _models_in(field.annotation)
        if note:
            lines += [f"{indent}# {line}" for line in _wrapped(note, width - len(indent))]
        if required and models:
            lines += [f"{indent}{name}:", *_lines(models[0], indent + "  ", width)]
            names = [str(m.model_fields["name"].default) for m in models if "name" in m.model_fields]
            if len(names) > 1:
                lines.insert(-1, f"{indent}  # other names: {', '.join(names[1:])}")
        elif required:
            lines.append(f"{indent}# {name}:   (must be given)")
        elif isinstance(value, BaseModel):
            lines += [f"{indent}{name}:", *_lines(value, indent + "  ", width)]
            for other in models:
                if not isinstance(value, other) and len(models) > 1:
                    lines += [
                        f"{indent}  # or",
                        *(
                            f"{indent}  # {line}"
                            for line in _lines(other, "", width - len(indent) - 4)
                            if not line.startswith("#")
                        ),
                    ]
        else:
            lines.append(f"{indent}{name}: {_scalar(value)}")
    return lines


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, max(40, width - 2), break_long_words=False)


def _scalar(value: Any) -> str:
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    if isinstance(value, Path):
        value = str(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_scalar(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_scalar(item)}" for key, item in value.items()) + "}"
    if isinstance(value, float):
        return repr(value)
    return yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**6).replace("\n...", "").strip()
