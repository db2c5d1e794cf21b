"""The success of a backdoor: of models that are known, beside scores that it does not change."""

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_layers.data.changes.backdoor import Trigger
from fedjax_layers.engine.evaluation.evaluate import evaluate
from fedjax_layers.engine.evaluation.score_names import ATTACK_SUCCESS
from fedjax_layers.models.task import task_from_functions
from fedjax_layers.types import Pool, Ranges

CLASSES, TARGET = 4, 2
LABELS = np.array([0, 1, 2, 3, 3, 2, 2, 0, 1], np.int32)  # clients of 4, 1, 2, 0 and 2 examples
START, COUNT = np.array([0, 4, 5, 7, 7]), np.array([4, 1, 2, 0, 2])
HONEST, ALWAYS, FOOLED = 0, 1, 2  # kinds of model; a fooled one looks at the patch


def apply(params, images, key):
    """Read the class in the upper left pixel, say the target always, or say it where there is a patch."""
    del key
    truth = jax.nn.one_hot(images[:, 0, 0, 0], CLASSES)
    said = jax.nn.one_hot(jnp.full(len(images), TARGET), CLASSES)
    patch = (images[:, -3:, -3:] == 200).all((1, 2, 3))
    sees = (params["kind"] == ALWAYS) | ((params["kind"] == FOOLED) & patch)
    return jnp.where(sees[:, None], said, truth)


def scores(kinds, trigger, **options):
    images = np.zeros((len(LABELS), 5, 5, 1), np.uint8)
    images[:, 0, 0, 0] = LABELS
    task = task_from_functions(
        lambda key: {"kind": jnp.zeros(())}, apply, lambda outputs, labels: 1 - outputs.max(-1), None, CLASSES
    )._replace(trigger=trigger)
    ranges = Ranges(jnp.asarray(START, jnp.int32), jnp.asarray(COUNT, jnp.int32))
    stacked = np.ndim(kinds) > 0
    params = {"kind": jnp.asarray(kinds, jnp.float32)}
    pool = Pool(jnp.asarray(images), jnp.asarray(LABELS))
    return jax.jit(lambda p: evaluate(task, p, pool, ranges, stacked=stacked, largest=4, **options))(params)


def test_it_is_the_share_of_other_classes_that_the_patch_turns_into_the_target():
    found, _ = scores([HONEST, ALWAYS, FOOLED, ALWAYS, FOOLED], Trigger(TARGET, 200.0), batch_size=2)
    # The third client has examples of the target alone, the fourth has none.
    np.testing.assert_array_equal(found[ATTACK_SUCCESS], [0, 1, np.nan, np.nan, 1])
    np.testing.assert_array_equal(found["accuracy"], [1, 0, 1, np.nan, 1])
    for kind, success in ((HONEST, 0), (ALWAYS, 1), (FOOLED, 1)):
        own, pooled = scores(kind, Trigger(TARGET, 200.0), pooled=True)
        np.testing.assert_array_equal(own[ATTACK_SUCCESS], [success, success, np.nan, np.nan, success])
        assert pooled[ATTACK_SUCCESS] == success


def test_the_other_scores_are_the_same_with_and_without_a_trigger():
    kinds = [HONEST, ALWAYS, FOOLED, ALWAYS, FOOLED]
    found, plain = (scores(kinds, trigger)[0] for trigger in (Trigger(TARGET, 200.0), None))
    assert found.keys() - plain.keys() == {ATTACK_SUCCESS}
    for name, x in plain.items():
        np.testing.assert_array_equal(found[name], x)
