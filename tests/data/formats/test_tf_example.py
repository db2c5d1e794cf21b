"""The parser of ``tf.train.Example``, against messages that protobuf itself has written."""

import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from fedjax_layers.data.formats.tf_example import parse_example
from tests.data.sources import tff_files


def message_class(packed):
    """Make the class of ``tf.train.Example`` from its declaration in feature.proto; ``packed`` is the usual form."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name=f"example_{packed}.proto", package=f"p{packed}", syntax="proto3")

    def message(name, *fields, of=file.message_type):
        made = of.add(name=name)
        for number, (called, kind, label, typed) in enumerate(fields, start=1):
            one = made.field.add(name=called, number=number, type=kind, label=label)
            if typed:
                one.type_name = f".p{packed}.{typed}"
            if kind in (field.TYPE_FLOAT, field.TYPE_INT64):
                one.options.packed = packed
        return made

    many, one = field.LABEL_REPEATED, field.LABEL_OPTIONAL
    message("BytesList", ("value", field.TYPE_BYTES, many, ""))
    message("FloatList", ("value", field.TYPE_FLOAT, many, ""))
    message("Int64List", ("value", field.TYPE_INT64, many, ""))
    lists = ("bytes_list", "BytesList"), ("float_list", "FloatList"), ("int64_list", "Int64List")
    feature = message("Feature", *((name, field.TYPE_MESSAGE, one, typed) for name, typed in lists))
    feature.oneof_decl.add(name="kind")
    for declared in feature.field:
        declared.oneof_index = 0
    features = message("Features", ("feature", field.TYPE_MESSAGE, many, "Features.FeatureEntry"))
    entry = message(
        "FeatureEntry",
        ("key", field.TYPE_STRING, one, ""),
        ("value", field.TYPE_MESSAGE, one, "Feature"),
        of=features.nested_type,
    )
    entry.options.map_entry = True
    message("Example", ("features", field.TYPE_MESSAGE, one, "Features"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"p{packed}.Example"))


@pytest.mark.parametrize("packed", [True, False])
def test_what_protobuf_writes_is_read(packed):
    example = message_class(packed)()
    integers = [0, 1, 127, 128, 300, -1, 2**62, -(2**63), 2**63 - 1]
    example.features.feature["label"].int64_list.value.extend(integers)
    example.features.feature["small"].int64_list.value.extend([5, 6])
    example.features.feature["pixels"].float_list.value.extend([0.5, -1.25, 3e38])
    example.features.feature["näme"].bytes_list.value.extend([b"", b"\xff\x00"])
    example.features.feature["none"].SetInParent()
    found = parse_example(example.SerializeToString(), "x")
    assert set(found) == {"label", "small", "pixels", "näme"}
    assert found["label"].tolist() == integers
    assert found["small"].tolist() == [5, 6]
    assert found["pixels"].dtype == np.float32
    np.testing.assert_array_equal(found["pixels"], np.float32([0.5, -1.25, 3e38]))
    assert found["näme"] == [b"", b"\xff\x00"]


def test_the_writer_of_the_tests_writes_what_protobuf_writes():
    example = message_class(True)()
    example.features.feature["label"].int64_list.value.extend([300, -1])
    assert tff_files.example(label=[300, -1]) == example.SerializeToString()


@pytest.mark.parametrize(
    "content", [b"\x0a", b"\x0a\x05ab", b"\x00", b"\xff" * 20, b"\x0b", b"\x0a\x04\x0a\x02\x12\x7f"]
)
def test_a_broken_message_is_refused(content):
    with pytest.raises(ValueError, match=r"x: expected a tf\.train\.Example, could not read it") as caught:
        parse_example(content, "x")
    assert "\n" not in str(caught.value)
