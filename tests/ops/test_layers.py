"""Numbering layers in call order, and the map's sizes, scored leaves and blocks."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import pytest

from fedjax_layers.ops import (
    block_score,
    federation_sensitivity,
    layer_map,
    layer_sums,
    regroup,
    update_score,
)
from fedjax_layers.ops.update import READINGS


def dense(n_in=2, n_out=3, dtype=jnp.float32):
    return {"kernel": jnp.ones((n_in, n_out), dtype), "bias": jnp.ones(n_out, dtype)}


class Linear(NamedTuple):
    weight: Any
    bias: Any


class Network(NamedTuple):
    encoder: Any
    decoder: Any


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Module:
    stem: Any
    body: Any
    classifier: Any


def test_patterns_give_the_call_order_not_the_sorted_one():
    params = {"classifier": dense(3, 4), "body": dense(5, 3), "stem": dense(2, 5)}
    layers = layer_map(params, order=["stem", "body", "classifier"])
    assert layers.names == ("stem", "body", "classifier")
    assert layers.tree == {
        "classifier": {"kernel": 2, "bias": 2},
        "body": {"kernel": 1, "bias": 1},
        "stem": {"kernel": 0, "bias": 0},
    }
    assert layers.sizes == (15, 18, 16)
    assert layers.scored_sizes == (10, 15, 12)
    assert layers.bytes == (60, 72, 64)
    assert (layers.num_layers, layers.num_blocks) == (3, 3)


def test_bytes_are_those_of_the_stored_dtype():
    layers = layer_map([dense(dtype=jnp.bfloat16), dense(dtype=jnp.float32)])
    assert layers.bytes == (2 * 9, 4 * 9)


def test_ten_comes_after_nine_without_an_order():
    layers = layer_map({f"Dense_{i}": dense() for i in range(12)})
    assert layers.names == tuple(f"Dense_{i}" for i in range(12))
    assert layers.tree["Dense_10"] == {"kernel": 10, "bias": 10}


def test_a_wrapper_and_numbered_keys_with_slashes_have_an_order():
    params = {"params": {f"mlp/~/linear_{i}": dense() for i in (0, 2, 10)}}
    names = layer_map(params).names
    assert names == ("params/mlp/~/linear_0", "params/mlp/~/linear_2", "params/mlp/~/linear_10")


@pytest.mark.parametrize(
    "params",
    [
        {"Conv_0": dense(), "Dense_0": dense()},
        {"encoder": dense(), "decoder": dense()},
        {"net": {"a": dense(), "b": dense()}},
        {"linear": dense(), "linear_1": dense()},
        {"scale": jnp.ones(3), "conv": dense()},  # a leaf beside a module
        {"w": jnp.ones((2, 3)), "b": jnp.ones(3)},  # leaves alone
    ],
)
def test_a_dictionary_without_an_order_is_refused(params):
    with pytest.raises(ValueError, match="order: expected the layers' call order"):
        layer_map(params)


def test_a_pattern_matches_whole_path_elements():
    params = {"Conv_0": dense(), "Conv_01": dense()}
    assert layer_map(params, ["Conv_01", "Conv_0"]).names == ("Conv_01", "Conv_0")
    layers = layer_map({"a": {"x": dense(), "y": dense()}}, ["a/y", "a/x/(kernel|bias)"])
    assert layers.tree == {"a": {"x": {"kernel": 1, "bias": 1}, "y": {"kernel": 0, "bias": 0}}}


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (["a"], r"to match 'b/bias', found none"),
        (["a", "b", "a/kernel"], r"to match 'a/kernel', found 'a' and 'a/kernel'"),
        (["a", "b", "c"], r"expected entry 'c' to match something"),
        (["a", ".*"], r"to match 'a/bias', found 'a' and '\.\*'"),
        ([], r"to match 'a/bias', found none"),
    ],
)
def test_leaves_matched_by_none_or_two_and_idle_patterns_are_refused(order, message):
    with pytest.raises(ValueError, match=f"order: .*{message}"):
        layer_map({"a": dense(), "b": dense()}, order)


def test_no_leaves_are_refused():
    with pytest.raises(ValueError, match="params: expected at least one leaf"):
        layer_map({})


def test_a_tied_table_is_one_leaf_and_one_layer():
    params = {"embed": jnp.ones((7, 3)), "hidden": dense(3, 3)}  # embed is also the output projection
    layers = layer_map(params, ["embed", "hidden"])
    assert layers.names == ("embed", "hidden")
    assert layers.sizes == (21, 12)
    with pytest.raises(ValueError, match="match 'embed', found 'embed' and 'embed'"):
        layer_map(params, ["embed", "hidden", "embed"])


def test_positions_in_lists_and_tuples_are_the_order():
    pair = (jnp.ones((2, 3)), jnp.ones(3))
    layers = layer_map([dense() for _ in range(11)])
    assert layers.names == tuple(map(str, range(11)))
    assert layer_map((pair, pair)).tree == ((0, 0), (1, 1))
    assert layer_map([jnp.ones((2, 3)), jnp.ones((3, 2))]).tree == [0, 1]


def test_a_bare_leaf_beside_modules_keeps_its_place():
    layers = layer_map([jnp.ones((2, 3)), dense(), jnp.ones((3, 2))])
    assert layers.names == ("0", "1", "2")
    assert layers.tree == [0, {"kernel": 1, "bias": 1}, 2]


def test_fields_are_in_order_of_declaration():
    linear = Linear(jnp.ones((2, 3)), jnp.ones(3))
    assert layer_map(Network(encoder=linear, decoder=linear)).names == ("encoder", "decoder")
    assert layer_map(Module(linear, linear, linear)).names == ("stem", "body", "classifier")


def test_all_of_one_field_comes_before_the_next():
    linear = Linear(jnp.ones((2, 3)), jnp.ones(3))
    expected = ("encoder/0", "encoder/1", "decoder/0", "decoder/1")
    assert layer_map(Network([linear] * 2, [linear] * 2)).names == expected
    nested = Module(linear, {"Dense_0": dense(), "Dense_1": dense()}, {"Dense_0": dense()})
    assert layer_map(nested).names == ("stem", "body/Dense_0", "body/Dense_1", "classifier/Dense_0")


def test_a_norm_layer_goes_with_the_layer_it_follows():
    norm = {"scale": jnp.ones(3), "bias": jnp.ones(3)}
    params = {"Conv_0": dense(), "GroupNorm_0": norm, "Dense_0": dense(3, 2)}
    layers = layer_map(params, [("Conv_0", "GroupNorm_0"), "Dense_0"])
    assert layers.names == ("Conv_0", "Dense_0")
    assert layers.tree["GroupNorm_0"] == {"scale": 0, "bias": 0}
    assert layers.sizes == (2 * 3 + 3 + 6, 8)
    assert layers.scored_sizes == (6, 6)


def test_weights_are_scored_and_vectors_only_where_there_is_nothing_else():
    params = {
        "embed": {"embedding": jnp.ones((7, 3)), "position": jnp.ones((5, 3))},
        "norm": {"scale": jnp.ones(3), "bias": jnp.ones(3)},
        "dense": dense(3, 2),
    }
    layers = layer_map(params, ["embed", "norm", "dense"])
    assert dict(zip(layers.leaf_paths, layers.leaf_scored, strict=True)) == {
        "embed/embedding": True,
        "embed/position": True,
        "norm/scale": True,
        "norm/bias": True,
        "dense/kernel": True,
        "dense/bias": False,
    }
    assert layers.scored_sizes == (36, 6, 6)


GROUPINGS = ("tensor", "layer", "block", "model")


def grouped(by):
    """A network with a layer of vectors alone and one without any entry, under each grouping."""
    params = {
        "embed": {"embedding": jnp.arange(6.0).reshape(3, 2) - 2},
        "norm": {"scale": jnp.array([1.0, -3.0]), "bias": jnp.array([0.5, 0.0])},
        "dense": {"kernel": jnp.arange(4.0).reshape(2, 2) + 1, "bias": jnp.array([0.0, 2.0])},
        "empty": {"kernel": jnp.zeros((0, 2))},
    }
    return params, regroup(layer_map(params, ["embed", "norm", "dense", "empty"], blocks=[0, 0, 1, 2]), by)


@pytest.mark.parametrize(
    ("by", "scored"), [("tensor", "111111"), ("layer", "011111"), ("block", "011100"), ("model", "011100")]
)
def test_every_group_has_something_scored(by, scored):
    _, layers = grouped(by)
    assert layers.leaf_paths == (
        "dense/bias", "dense/kernel", "embed/embedding", "empty/kernel", "norm/bias", "norm/scale",
    )  # fmt: skip
    assert "".join(str(int(flag)) for flag in layers.leaf_scored) == scored
    whole = [n for n, s in zip(layers.scored_sizes, layers.sizes, strict=True) if s]
    assert min(whole) > 0, "a layer with entries has scored ones"


@pytest.mark.parametrize("by", GROUPINGS)
def test_no_score_of_any_grouping_fails_or_is_nan(by):
    params, layers = grouped(by)
    scores = {
        f"sensitivity {c}": federation_sensitivity(params, params, layers, combine=c) for c in ("elements", "matrices")
    }
    for reading in READINGS:
        clients = jax.tree.map(lambda x: jnp.stack([x, 2 * x, -x]), params) if reading == "clients" else None
        for only in (False, True):
            scores[f"{reading} {only}"] = update_score(
                params, layers, reading=reading, clients=clients, matrices_only=only
            )
    for how in ("mean", "sum", "size"):
        scores[f"block {how}"] = block_score(scores["ratio True"], layers, how)
    for name, found in scores.items():
        assert bool(jnp.isfinite(found).all()), (by, name, found)
    empty = [size == 0 for size in layers.sizes]
    for name in ("sensitivity elements", "sensitivity matrices", "product True"):
        assert [float(s) for s, e in zip(scores[name], empty, strict=True) if e] == [0.0] * sum(empty)


def test_a_bias_alone_is_scored_on_itself():
    params, layers = grouped("tensor")
    place = layers.names.index("dense/bias")
    assert float(federation_sensitivity(params, params, layers)[place]) == (0 + 2.0**4) / 2
    ratio = update_score(params, layers, matrices_only=True)[place]
    assert float(ratio) == pytest.approx(2**0.5), "mean 1, deviation 1"


def test_blocks_by_number_and_by_name():
    params = {f"Dense_{i}": dense() for i in range(4)}
    numbered = layer_map(params, blocks=[0, 0, 1, 1])
    assert numbered.blocks == (0, 0, 1, 1)
    assert numbered.block_names == ("block_0", "block_1")
    named = layer_map(params, blocks=["Dense_0", ("Dense_1", "Dense_2"), "Dense_3"])
    assert named.blocks == (0, 1, 1, 2)
    assert named.num_blocks == 3
    assert layer_map(params).block_names == layer_map(params).names


@pytest.mark.parametrize("blocks", [[0, 0, 1], [0, 0, 2, 2], [1, 1, 2, 2], [-1, 0, 0, 1], []])
def test_block_numbers_that_do_not_count_up_are_refused(blocks):
    with pytest.raises(ValueError, match="blocks: expected 4 numbers"):
        layer_map({f"Dense_{i}": dense() for i in range(4)}, blocks=blocks)


def test_blocks_by_name_must_cover_every_layer_once():
    params = {f"Dense_{i}": dense() for i in range(2)}
    with pytest.raises(ValueError, match=r"blocks: .*'Dense_1', found none"):
        layer_map(params, blocks=["Dense_0"])


def test_shapes_alone_are_enough_and_the_map_is_a_static_argument():
    params = [dense(), dense(3, 2)]
    from_shapes = layer_map(jax.eval_shape(lambda: params))
    assert from_shapes == layer_map(params)
    assert hash(from_shapes) == hash(layer_map(params))
    assert jax.jit(layer_sums)(params, from_shapes).tolist() == [9.0, 8.0]
