"""Every public name resolves and says what it takes."""

import dataclasses
import importlib
import inspect
import re
import types

import pytest

import fedjax_layers
from fedjax_layers import ops

SECTION = re.compile(r"^\s*(Args|Attributes):$", re.MULTILINE)
PUBLIC = [(module, name) for module in (fedjax_layers, ops) for name in module.__all__]


def parameters(value):
    """Names that a caller passes: of a function, or of a class whose fields are its arguments."""
    if dataclasses.is_dataclass(value):
        return [field.name for field in dataclasses.fields(value) if field.init]
    if inspect.isclass(value) and hasattr(value, "_fields"):
        return list(value._fields)
    return [name for name in inspect.signature(value).parameters if name != "self"]


@pytest.mark.parametrize(("module", "name"), PUBLIC, ids=[f"{m.__name__}.{n}" for m, n in PUBLIC])
def test_a_public_name_resolves_and_documents_its_arguments(module, name):
    value = getattr(module, name)
    if isinstance(value, str):
        assert name == "__version__"
        return
    text = inspect.getdoc(value)
    assert text
    # A NamedTuple or dataclass without a docstring gets its signature for one.
    assert not text.startswith(f"{name}(")
    assert text.splitlines()[0].endswith((".", ":", ";"))
    if isinstance(value, types.ModuleType):
        return
    names = parameters(value)
    if not names:
        return
    assert SECTION.search(text), f"{name} has no Args or Attributes section"
    for argument in names:
        assert re.search(rf"^\s*\**`*{argument}\b", text, re.MULTILINE), f"{name} does not tell what {argument} is"


@pytest.mark.parametrize("module", [fedjax_layers, ops], ids=lambda m: m.__name__)
def test_lists_have_no_name_twice_and_a_wrong_one_is_an_attribute_error(module):
    assert len(set(module.__all__)) == len(module.__all__)
    assert set(module.__all__) <= set(dir(module))
    with pytest.raises(AttributeError, match="no_such_name"):
        module.no_such_name  # noqa: B018


def test_the_version_is_that_of_the_project():
    assert re.fullmatch(r"\d+\.\d+\.\d+", fedjax_layers.__version__)


def test_every_registered_algorithm_documents_its_options():
    for name, factory in fedjax_layers.algorithms.registry.items():
        assert getattr(fedjax_layers.algorithms, name) is factory
        assert SECTION.search(inspect.getdoc(factory))
        for argument in inspect.signature(factory).parameters:
            assert re.search(rf"^\s*{argument}:", inspect.getdoc(factory), re.MULTILINE), (name, argument)


@pytest.mark.parametrize("room", ["algorithms", "data", "models"])
def test_every_listed_name_of_a_room_resolves(room):
    module = importlib.import_module(f"fedjax_layers.{room}")
    assert [name for name in module.__all__ if not hasattr(module, name)] == []
