"""Harrell's concordance and Cox's loss against slow NumPy: ties in time and in risk, censored examples, padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_layers.models import cox_losses
from fedjax_layers.ops.metrics import SurvivalScorer, concordance

RNG = np.random.default_rng(0)
TIME = RNG.integers(1, 9, 25).astype(np.float32)  # few days, so that several share one
EVENT = RNG.random(25) < 0.6
RISK = (RNG.integers(0, 6, 25) / 2 - TIME / 4).astype(np.float32)


def slow_concordance(risk, time, event):
    won = pairs = 0
    for i in range(len(time)):
        for j in range(len(time)):
            if event[i] and (time[i] < time[j] or (time[i] == time[j] and not event[j])):
                pairs += 1
                won += (risk[i] > risk[j]) + 0.5 * (risk[i] == risk[j])
    return won / pairs if pairs else np.nan


def slow_cox(risk, time, event):
    """Mean over events."""
    losses = [
        np.log(np.exp(np.float64(risk[time >= t])).sum()) - r for r, t, e in zip(risk, time, event, strict=True) if e
    ]
    return np.mean(losses)


def test_concordance_by_pairs():
    found = concordance(*map(jnp.asarray, (RISK, TIME, EVENT, np.ones(25, bool))))
    assert float(found) == pytest.approx(slow_concordance(RISK, TIME, EVENT), rel=1e-6)
    assert 0.5 < float(found) < 1


def test_concordance_by_hand():
    # Died on day 1 with risk 2; alive on day 3 with risks 3 and 2; died on day 1 too: not compared with the first.
    risk, time = jnp.array([2.0, 3.0, 2.0, 0.0]), jnp.array([1.0, 3.0, 3.0, 1.0])
    event = jnp.array([True, False, False, True])
    assert float(concordance(risk, time, event, jnp.ones(4, bool))) == pytest.approx((0 + 0.5 + 0 + 0) / 4)


def test_scores_of_a_client_with_padding_rows():
    scorer, mask = SurvivalScorer(cox_losses), np.arange(25) % 4 > 0
    labels = np.stack([np.where(mask, TIME, 999), np.where(mask, EVENT, True)], 1).astype(np.float32)
    outputs = np.where(mask, RISK, np.nan)[:, None]
    found = scorer.whole(*map(jnp.asarray, (np.nan_to_num(outputs, nan=7.0), labels, mask)))
    own = RISK[mask], TIME[mask], EVENT[mask]
    assert float(found["concordance"]) == pytest.approx(slow_concordance(*own), rel=1e-6)
    assert float(found["loss"]) == pytest.approx(slow_cox(*own), rel=1e-5)
    nobody = scorer.whole(*map(jnp.asarray, (outputs, labels * [[1, 0]], mask)))
    assert np.isnan([float(x) for x in nobody.values()]).all()


def test_the_gradient_of_the_loss_is_that_of_the_formula(x64):
    labels = jnp.asarray(np.stack([TIME, EVENT], 1), jnp.float64)
    risk = jnp.asarray(RISK, jnp.float64)
    found = jax.grad(lambda r: cox_losses(r[:, None], labels).sum())(risk)
    expected = -EVENT.astype(float)
    for t in TIME[EVENT]:
        at_risk = np.exp(np.asarray(risk)) * (t <= TIME)
        expected += at_risk / at_risk.sum()
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)
