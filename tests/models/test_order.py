import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from fedjax_layers.models import block_order, build_model, call_order
from fedjax_layers.ops import layer_map

X = jnp.ones((2, 6))


def names(module, *args, **kwargs):
    """Layer names, after checking that layer_map takes the order."""
    order = call_order(module, *args, **kwargs)
    params = module.init({"params": jax.random.key(0), "dropout": jax.random.key(0)}, *args, **kwargs)["params"]
    layers = layer_map(params, order)
    assert layers.num_layers == len(order)
    return list(order)


class Deep(nn.Module):
    depth: int

    @nn.compact
    def __call__(self, x):
        for _ in range(self.depth):
            x = nn.Dense(6)(x)
        return x


def test_ten_comes_after_nine():
    assert names(Deep(12), X) == [(f"Dense_{i}",) for i in range(12)]


class SetUp(nn.Module):
    def setup(self):
        self.a_last = nn.Dense(3)
        self.z_first = nn.Dense(6)
        self.blocks = [nn.Dense(6) for _ in range(2)]

    def __call__(self, x):
        x = self.z_first(x)
        for block in self.blocks:
            x = block(x)
        return self.a_last(x)


def test_setup_style_follows_the_calls():
    assert names(SetUp(), X) == [("z_first",), ("blocks_0",), ("blocks_1",), ("a_last",)]


class Shared(nn.Module):
    @nn.compact
    def __call__(self, x):
        twice, between = nn.Dense(6, name="twice"), nn.Dense(6, name="between")
        return twice(between(twice(x)))


def test_shared_module_stands_at_its_first_call():
    assert names(Shared(), X) == [("twice",), ("between",)]


class Tied(nn.Module):
    vocabulary: int = 7

    def setup(self):
        self.z_embed = nn.Embed(self.vocabulary, 4)
        self.a_body = nn.Dense(4)

    def __call__(self, tokens):
        return self.z_embed.attend(self.a_body(self.z_embed(tokens)))

    def decode(self, x):
        return self.z_embed.attend(self.a_body(x))


def test_tied_embedding():
    assert names(Tied(), jnp.zeros((2, 3), jnp.int32)) == [("z_embed",), ("a_body",)]


def test_another_method_and_attend_alone():
    assert names(Tied(), jnp.ones((2, 4)), method="decode") == [("a_body",), ("z_embed",)]


class Normed(nn.Module):
    norm: type = nn.LayerNorm
    first: bool = False

    @nn.compact
    def __call__(self, x):
        x = self.norm(name="norm_in")(x) if self.first else x
        x = self.norm(name="norm_a")(nn.Dense(8, name="a")(x))
        x = nn.Dense(8, name="b")(x)
        return self.norm(name="norm_c")(self.norm(name="norm_b")(x))


class ScaleNorm(nn.Module):
    @nn.compact
    def __call__(self, x):
        return x * self.param("scale", nn.initializers.ones, (1,) * (x.ndim - 1) + x.shape[-1:])


@pytest.mark.parametrize("norm", [nn.LayerNorm, nn.RMSNorm, nn.InstanceNorm, ScaleNorm])
def test_norms_go_with_the_layer_before(norm):
    assert names(Normed(norm), jnp.ones((2, 3, 6))) == [("a", "norm_a"), ("b", "norm_b", "norm_c")]
    assert names(Normed(norm, first=True), jnp.ones((2, 3, 6)))[0] == ("a", "norm_in", "norm_a")


class OtherNorms(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.GroupNorm(2)(nn.Dense(8)(x))
        x = nn.BatchNorm(use_running_average=False)(nn.Dense(8)(x))
        return nn.WeightNorm(nn.Dense(3))(x)


def test_group_batch_and_weight_norm():
    assert names(OtherNorms(), X) == [
        ("Dense_0", "GroupNorm_0"),
        ("Dense_1", "BatchNorm_0"),
        ("Dense_2", r"WeightNorm_0"),
    ]


def test_norms_alone_are_one_layer():
    assert names(nn.Sequential([nn.LayerNorm(), nn.LayerNorm()]), X) == [("layers_0", "layers_1")]


class Block(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = x + self.param("shift", nn.initializers.zeros, (1, 1, x.shape[-1]))
        return x + nn.Dense(x.shape[-1])(nn.LayerNorm()(x))


class Vision(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Dense(8, name="z_patches")(x)
        token = self.param("cls", nn.initializers.zeros, (1, 1, 8))
        x = jnp.concatenate([jnp.broadcast_to(token, (x.shape[0], 1, 8)), x], axis=1)
        x = x + self.param("pos", nn.initializers.zeros, (1, x.shape[1], 8))
        for _ in range(2):
            x = Block()(x)
        return nn.Dense(3, name="head")(x[:, 0])


def test_parameters_of_a_parent_are_a_layer_of_exact_leaves():
    order = names(Vision(), jnp.ones((2, 5, 6)))
    assert order == [
        ("cls", "pos"),
        ("z_patches",),
        ("Block_0/shift", "Block_0/LayerNorm_0"),
        ("Block_0/Dense_0",),
        ("Block_1/shift", "Block_1/LayerNorm_0"),
        ("Block_1/Dense_0",),
        ("head",),
    ]
    params = Vision().init(jax.random.key(0), jnp.ones((2, 5, 6)))["params"]
    layers = layer_map(params, order, block_order(order))
    assert layers.blocks == (0, 1, 2, 2, 3, 3, 4)
    assert layers.block_names == ("cls", "z_patches", "Block_0", "Block_1", "head")
    assert layer_map(params, order, block_order(order, depth=2)).blocks == tuple(range(7))


def test_the_root_itself_may_own_all():
    assert names(nn.Dense(3), X) == [("bias", "kernel")]


def test_lifted_transforms():
    class Remat(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Dense(6, name="z")(x)
            return nn.remat(nn.Dense)(6, name="a")(x)

    assert names(Remat(), X) == [("z",), ("a",)]


def test_scan_over_layers_is_one_layer_each_module():
    class Cell(nn.Module):
        @nn.compact
        def __call__(self, x, _):
            return nn.Dense(6, name="b")(nn.Dense(6, name="z")(x)), None

    class Scanned(nn.Module):
        @nn.compact
        def __call__(self, x):
            scanned = nn.scan(Cell, variable_axes={"params": 0}, split_rngs={"params": True}, length=3)
            return nn.Dense(2, name="a")(scanned(name="stack")(x, None)[0])

    assert names(Scanned(), X) == [("stack/z",), ("stack/b",), ("a",)]


def test_names_are_escaped():
    class Odd(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(2, name="a+b")(nn.Dense(6, name="aab")(x))

    assert names(Odd(), X) == [("aab",), (r"a\+b",)]


class OnlyAtInit(nn.Module):
    @nn.compact
    def __call__(self, x):
        if self.is_initializing():
            nn.Dense(3, name="unused")(x)
        return nn.Dense(3, name="used")(x)


class Owner(nn.Module):
    def setup(self):
        self.weight = self.param("weight", nn.initializers.ones, (1, 6))

    def __call__(self, x):
        return x * self.weight


class ReadsWithoutCall(nn.Module):
    def setup(self):
        self.silent = Owner()
        self.body = nn.Dense(3)

    def __call__(self, x):
        return self.body(x * self.silent.weight)


@pytest.mark.parametrize(("module", "name"), [(OnlyAtInit(), "unused"), (ReadsWithoutCall(), "silent")])
def test_never_called_is_refused_by_name(module, name):
    with pytest.raises(ValueError, match=rf"'{name}', owner of '{name}/\w+', never is"):
        call_order(module, X)


def test_no_parameters_and_bad_depth():
    with pytest.raises(ValueError, match="found none in Dropout"):
        call_order(nn.Dropout(0.5, deterministic=True), X)
    with pytest.raises(ValueError, match="depth: expected at least 1, got 0"):
        block_order((("a",),), depth=0)


def test_arguments_may_be_shapes_only():
    module = build_model("cnn", 10)
    assert call_order(module, jax.ShapeDtypeStruct((1, 8, 8, 1), jnp.float32)) == (
        ("Conv_0",),
        ("Conv_1",),
        ("Dense_0",),
        ("Dense_1",),
    )
