"""`torch.distributions`: sampling, densities, entropies and divergences.

It sits above ``nn``. Samples follow PyTorch's random stream. Not there: transforms and
TransformedDistribution, mixtures, Binomial and the rarer distributions.
Source: PyTorch's torch.distributions page.
"""

from suiren.distributions import constraints, utils
from suiren.distributions.bernoulli import Bernoulli
from suiren.distributions.beta import Beta
from suiren.distributions.categorical import Categorical
from suiren.distributions.chi2 import Chi2
from suiren.distributions.dirichlet import Dirichlet
from suiren.distributions.distribution import Distribution
from suiren.distributions.exponential import Exponential
from suiren.distributions.gamma import Gamma
from suiren.distributions.geometric import Geometric
from suiren.distributions.independent import Independent
from suiren.distributions.kl import kl_divergence, register_kl
from suiren.distributions.laplace import Laplace
from suiren.distributions.log_normal import LogNormal
from suiren.distributions.multinomial import Multinomial
from suiren.distributions.multivariate_normal import MultivariateNormal
from suiren.distributions.normal import Normal
from suiren.distributions.one_hot_categorical import (
    OneHotCategorical,
    OneHotCategoricalStraightThrough,
)
from suiren.distributions.poisson import Poisson
from suiren.distributions.uniform import Uniform

__all__ = [
    "Bernoulli", "Beta", "Categorical", "Chi2", "Dirichlet", "Distribution", "Exponential",
    "Gamma", "Geometric", "Independent", "Laplace", "LogNormal", "Multinomial",
    "MultivariateNormal", "Normal", "OneHotCategorical", "OneHotCategoricalStraightThrough",
    "Poisson", "Uniform", "constraints", "kl_divergence", "register_kl", "utils",
]  # fmt: skip
