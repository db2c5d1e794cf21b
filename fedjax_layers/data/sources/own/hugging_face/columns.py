"""What the columns of a file hold: pictures, classes, texts, numbers or arrays, by their types and by its metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    import pyarrow as pa

_LISTED = 10
ColumnForm = Literal["pictures", "classes", "texts", "numbers", "arrays", "other"]


class Feature(NamedTuple):
    """What a column holds.

    Attributes:
      form: what one cell is.
      names: names of the classes, in order.
      shape: shape of an array where it is declared; empty where only the cells say.
      told: its type in words.
    """

    form: ColumnForm
    names: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    told: str = ""


def features_of(schema: pa.Schema, path: Path, declared: Mapping[str, Any] | None = None) -> dict[str, Feature]:
    """Describe the columns of a file.

    Args:
      schema: the file's schema.
      path: the file, for messages.
      declared: the features of a ``dataset_info.json``, for a schema without them.

    Raises:
      ValueError: the description in the schema's metadata is malformed.
    """
    known = _declared(schema, path) or declared or {}
    return {field.name: _feature(field, known.get(field.name), path) for field in schema}


def _declared(schema: pa.Schema, path: Path) -> Mapping[str, Any]:
    """Read the features that ``datasets`` wrote into a schema's metadata."""
    content = (schema.metadata or {}).get(b"huggingface")
    if content is None:
        return {}
    try:
        features = json.loads(content)["info"]["features"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path}: expected info and features as JSON in its metadata, found another text") from error
    return checked_features(features, path)


def checked_features(features: object, path: Path) -> Mapping[str, Any]:
    """Return the features of a description, an object of JSON.

    Raises:
      ValueError: they are something else.
    """
    if features is None:
        return {}
    if not isinstance(features, dict):
        raise ValueError(f"{path}: expected features by the names of columns, found {str(features)[:100]!r}")
    return features


def _feature(field: pa.Field, declared: Any, path: Path) -> Feature:
    import pyarrow as pa  # noqa: PLC0415

    types, kind = pa.types, stored_type(field.type)
    about = declared if isinstance(declared, dict) else {}
    kind = kind.value_type if types.is_dictionary(kind) else kind
    if types.is_struct(kind) and about.get("_type", "Image") == "Image" and _is_picture(kind):
        return Feature("pictures", told="pictures")
    if about.get("_type") == "ClassLabel" and types.is_integer(kind):
        names = _class_names(about, f"{path}, column {field.name}")
        return Feature("classes", names, told=f"{len(names)} classes: {listed(names)}")
    if types.is_string(kind) or types.is_large_string(kind):
        return Feature("texts", told="texts")
    if any(f(kind) for f in (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal)):
        return Feature("numbers", told=str(kind))
    shape = _array_shape(kind)
    if shape is None:
        return Feature("other", told=str(kind))
    told = about.get("shape")
    if isinstance(told, list) and all(isinstance(n, int) and n > 0 for n in told) and len(told) == len(shape):
        shape = tuple(told)
    fixed = shape if all(shape) else ()
    return Feature("arrays", shape=fixed, told=f"arrays {list(fixed)}" if fixed else f"arrays of rank {len(shape)}")


def listed(names: Sequence[str]) -> str:
    """List names, of many only the first ones."""
    return ", ".join(names[:_LISTED]) + (", ..." if len(names) > _LISTED else "")


def stored_type(kind: Any) -> Any:
    """Return the type in which values of an extension type (``Array2D``) are stored; any other type unchanged."""
    import pyarrow as pa  # noqa: PLC0415

    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def _is_picture(kind: Any) -> bool:
    import pyarrow as pa  # noqa: PLC0415

    at = kind.get_field_index("bytes")
    return at >= 0 and (pa.types.is_binary(kind.field(at).type) or pa.types.is_large_binary(kind.field(at).type))


def _array_shape(kind: Any) -> tuple[int, ...] | None:
    """Return the shape of lists of numbers, 0 for a length that only the cells say; ``None`` for other types."""
    import pyarrow as pa  # noqa: PLC0415

    types, shape = pa.types, []
    while types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        shape.append(kind.list_size if types.is_fixed_size_list(kind) else 0)
        kind = kind.value_type
    plain = types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)
    return tuple(shape) if shape and plain else None


def _class_names(about: Mapping[str, Any], where: str) -> tuple[str, ...]:
    names, count = about.get("names"), about.get("num_classes")
    if names is None and isinstance(count, int) and 0 < count < 2**20:
        return tuple(map(str, range(count)))
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{where}: expected the names of the classes, found {str(names)[:100]!r}")
    if len(set(names)) < len(names):
        raise ValueError(f"{where}: expected different names of the classes, found {str(names)[:100]!r}")
    return tuple(names)
