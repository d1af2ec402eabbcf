"""torch.distributions: samples, densities, entropies and divergences, beside PyTorch's."""

import numpy as np
import pytest

import suiren
from suiren import distributions


def made(torch, module) -> dict:
    """The same distributions of either library."""
    t = torch.tensor
    p = t([[0.2, 0.3, 0.5], [0.1, 0.1, 0.8]])
    a, b = t([0.5, 1.5, 4.0]), t([2.0, 0.7, 1.0])
    covariance = t([[2.0, 0.5], [0.5, 1.0]])
    return {
        "normal": module.Normal(a, b), "number": module.Normal(0.0, 2.0),
        "log_normal": module.LogNormal(a, b), "laplace": module.Laplace(a, b),
        "uniform": module.Uniform(a - 3, b + 3), "exponential": module.Exponential(b),
        "gamma": module.Gamma(a, b), "beta": module.Beta(a, b), "chi2": module.Chi2(a),
        "dirichlet": module.Dirichlet(p * 5), "bernoulli": module.Bernoulli(logits=p),
        "categorical": module.Categorical(p), "logits": module.Categorical(logits=p),
        "one_hot": module.OneHotCategorical(p), "multinomial": module.Multinomial(5, p),
        "poisson": module.Poisson(a * 4), "geometric": module.Geometric(t([0.2, 0.5, 0.9])),
        "multivariate": module.MultivariateNormal(t([1.0, 2.0]), covariance),
        "precision": module.MultivariateNormal(t([1.0, 2.0]), precision_matrix=covariance),
        "independent": module.Independent(module.Normal(a, b), 1),
    }  # fmt: skip


NAMES = sorted(made(suiren, distributions))


@pytest.mark.parametrize("name", NAMES)
def test_as_in_pytorch(name):
    torch = pytest.importorskip("torch")
    import torch.distributions as theirs

    x, y = made(torch, theirs)[name], made(suiren, distributions)[name]
    assert repr(x) == repr(y)
    assert tuple(x.batch_shape) == tuple(y.batch_shape)
    assert tuple(x.event_shape) == tuple(y.event_shape)

    def same(a, b):
        a, b = a.detach().numpy(), b.detach().numpy()
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5)
        assert a.dtype == b.dtype

    for shape in ((), (4,), (2, 9)):
        torch.manual_seed(3), suiren.manual_seed(3)
        a, b = x.sample(shape), y.sample(shape)
        same(a, b)
        same(x.log_prob(a), y.log_prob(b))
        same(torch.rand(2), suiren.rand(2))  # both have drawn as much
    for what in ("mean", "variance", "stddev", "mode"):
        try:
            expected = getattr(x, what)
        except NotImplementedError:
            continue
        same(expected, getattr(y, what))
    try:
        expected = x.entropy()
    except NotImplementedError:
        with pytest.raises(NotImplementedError):
            y.entropy()
    else:
        same(expected, y.entropy())
    if name != "multinomial":
        same(theirs.kl_divergence(x, x), distributions.kl_divergence(y, y))


def test_recorded_samples():
    suiren.manual_seed(0)
    found = made(suiren, distributions)
    assert found["categorical"].sample((3,)).shape == (3, 2)
    assert found["gamma"].log_prob(suiren.ones(3)).tolist() == pytest.approx(
        [-2.2257914, -1.1142323, -2.7917595], abs=1e-5
    )


def test_gradients_of_samples():
    for name in ("gamma", "beta", "dirichlet", "normal", "multivariate"):
        suiren.manual_seed(0)
        parameter = suiren.full((2,), 3.0, requires_grad=True)
        make = {
            "gamma": lambda p: distributions.Gamma(p, 2.0),
            "beta": lambda p: distributions.Beta(p, suiren.full((2,), 3.0)),
            "dirichlet": distributions.Dirichlet,
            "normal": lambda p: distributions.Normal(p, 1.0),
            "multivariate": lambda p: distributions.MultivariateNormal(p, suiren.eye(2)),
        }[name](parameter)  # fmt: skip
        first = make.rsample((4000,))
        (first[..., 0].mean() if name == "dirichlet" else first.mean()).backward()
        # means: a/r, a/(a+b), a/sum, mu: their derivatives by the first parameter, halved by mean()
        wanted = {"gamma": 0.25, "beta": 0.5 / 12, "dirichlet": 1 / 12, "normal": 0.5,
                  "multivariate": 0.5}[name]  # fmt: skip
        assert parameter.grad[0].item() == pytest.approx(wanted, rel=0.1), name


def test_errors():
    with pytest.raises(ValueError, match="Expected parameter scale"):
        distributions.Normal(0.0, -1.0)
    with pytest.raises(ValueError, match="within the support"):
        distributions.Bernoulli(0.5).log_prob(suiren.tensor(2.0))
    with pytest.raises(ValueError, match="not broadcastable"):
        distributions.Normal(suiren.zeros(2), 1.0).log_prob(suiren.zeros(3))
    with pytest.raises(NotImplementedError, match="No KL"):
        distributions.kl_divergence(distributions.Normal(0.0, 1.0), distributions.Beta(1.0, 1.0))
