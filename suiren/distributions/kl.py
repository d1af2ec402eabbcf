"""`kl_divergence` and the table of pairs that it knows. Source: torch.distributions.kl."""

from __future__ import annotations

from collections.abc import Callable

import suiren as torch
from suiren.distributions.bernoulli import Bernoulli
from suiren.distributions.beta import Beta
from suiren.distributions.categorical import Categorical
from suiren.distributions.dirichlet import Dirichlet
from suiren.distributions.distribution import Distribution
from suiren.distributions.exponential import Exponential
from suiren.distributions.gamma import Gamma
from suiren.distributions.geometric import Geometric
from suiren.distributions.independent import Independent
from suiren.distributions.laplace import Laplace
from suiren.distributions.log_normal import LogNormal
from suiren.distributions.multivariate_normal import (
    MultivariateNormal,
    half_log_det,
    mahalanobis,
)
from suiren.distributions.normal import Normal
from suiren.distributions.one_hot_categorical import OneHotCategorical
from suiren.distributions.poisson import Poisson
from suiren.distributions.uniform import Uniform
from suiren.tensor import Tensor

__all__ = ["kl_divergence", "register_kl"]

_Rule = Callable[..., Tensor]
_RULES: dict[tuple[type, type], _Rule] = {}


def register_kl(type_p: type, type_q: type) -> Callable[[_Rule], _Rule]:
    """A decorator that enters a function of (p, q) for these classes and their subclasses."""

    def enter(rule: _Rule) -> _Rule:
        _RULES[type_p, type_q] = rule
        return rule

    return enter


def kl_divergence(p: Distribution, q: Distribution) -> Tensor:
    """KL(p || q), the mean under p of ``log p - log q``, of the shape of the batches.

    Raises NotImplementedError for a pair without a formula.

    >>> from suiren.distributions import Normal, kl_divergence
    >>> kl_divergence(Normal(1.0, 1.0), Normal(0.0, 1.0))
    tensor(0.5000)
    """
    for kind_p in type(p).__mro__:
        for kind_q in type(q).__mro__:
            if (kind_p, kind_q) in _RULES:
                return _RULES[kind_p, kind_q](p, q)
    raise NotImplementedError(
        f"No KL(p || q) is implemented for p type {type(p).__name__} and q type "
        f"{type(q).__name__}"
    )


@register_kl(Normal, Normal)
def _normal(p: Normal, q: Normal) -> Tensor:
    ratio = (p.scale / q.scale).pow(2)
    return 0.5 * (ratio + ((p.loc - q.loc) / q.scale).pow(2) - 1 - ratio.log())


@register_kl(LogNormal, LogNormal)
def _log_normal(p: LogNormal, q: LogNormal) -> Tensor:
    return _normal(p.base_dist, q.base_dist)


@register_kl(Laplace, Laplace)
def _laplace(p: Laplace, q: Laplace) -> Tensor:
    ratio = p.scale / q.scale
    off = (p.loc - q.loc).abs()
    return -ratio.log() + off / q.scale + ratio * torch.exp(-off / p.scale) - 1


@register_kl(Uniform, Uniform)
def _uniform(p: Uniform, q: Uniform) -> Tensor:
    result = ((q.high - q.low) / (p.high - p.low)).log()
    return result.masked_fill((q.low > p.low) | (q.high < p.high), torch.inf)


@register_kl(Exponential, Exponential)
def _exponential(p: Exponential, q: Exponential) -> Tensor:
    ratio = q.rate / p.rate
    return -ratio.log() + ratio - 1


@register_kl(Gamma, Gamma)
def _gamma(p: Gamma, q: Gamma) -> Tensor:
    return (
        q.concentration * (p.rate / q.rate).log()
        + torch.lgamma(q.concentration)
        - torch.lgamma(p.concentration)
        + (p.concentration - q.concentration) * torch.digamma(p.concentration)
        + (q.rate - p.rate) * (p.concentration / p.rate)
    )


@register_kl(Dirichlet, Dirichlet)
def _dirichlet(p: Dirichlet, q: Dirichlet) -> Tensor:
    a, b = p.concentration, q.concentration
    total = a.sum(-1)
    slope = torch.digamma(a) - torch.digamma(total).unsqueeze(-1)
    return (
        torch.lgamma(total)
        - torch.lgamma(b.sum(-1))
        - (torch.lgamma(a) - torch.lgamma(b)).sum(-1)
        + ((a - b) * slope).sum(-1)
    )


@register_kl(Beta, Beta)
def _beta(p: Beta, q: Beta) -> Tensor:
    return _dirichlet(p._dirichlet, q._dirichlet)


@register_kl(Bernoulli, Bernoulli)
def _bernoulli(p: Bernoulli, q: Bernoulli) -> Tensor:
    softplus = torch.nn.functional.softplus
    ones = p.probs * (softplus(-q.logits) - softplus(-p.logits))
    zeros = (1 - p.probs) * (softplus(q.logits) - softplus(p.logits))
    ones = ones.masked_fill(q.probs == 0, torch.inf).masked_fill(p.probs == 0, 0.0)
    zeros = zeros.masked_fill(q.probs == 1, torch.inf).masked_fill(p.probs == 1, 0.0)
    return ones + zeros


@register_kl(Categorical, Categorical)
def _categorical(p: Categorical, q: Categorical) -> Tensor:
    parts = p.probs * (p.logits - q.logits)
    parts = parts.masked_fill(q.probs == 0, torch.inf).masked_fill(p.probs == 0, 0.0)
    return parts.sum(-1)


@register_kl(OneHotCategorical, OneHotCategorical)
def _one_hot(p: OneHotCategorical, q: OneHotCategorical) -> Tensor:
    return _categorical(p._categorical, q._categorical)


@register_kl(Poisson, Poisson)
def _poisson(p: Poisson, q: Poisson) -> Tensor:
    return p.rate * (p.rate.log() - q.rate.log()) - (p.rate - q.rate)


@register_kl(Geometric, Geometric)
def _geometric(p: Geometric, q: Geometric) -> Tensor:
    return -p.entropy() - torch.log1p(-q.probs) / p.probs - q.logits


@register_kl(MultivariateNormal, MultivariateNormal)
def _multivariate_normal(p: MultivariateNormal, q: MultivariateNormal) -> Tensor:
    if p.event_shape != q.event_shape:
        raise ValueError(
            "KL-divergence between two Multivariate Normals with different event shapes cannot "
            f"be computed: {tuple(p.event_shape)} and {tuple(q.event_shape)}"
        )
    spread = torch.linalg.solve_triangular(q._factor, p._factor, upper=False)
    trace = spread.pow(2).sum((-2, -1))
    squared = mahalanobis(q._factor, q.loc - p.loc)
    logs = half_log_det(q._factor) - half_log_det(p._factor)
    return logs + 0.5 * (trace + squared - p.event_shape[0])


@register_kl(Independent, Independent)
def _independent(p: Independent, q: Independent) -> Tensor:
    if p.reinterpreted_batch_ndims != q.reinterpreted_batch_ndims:
        raise NotImplementedError(
            "KL(p || q) of Independent distributions with different reinterpreted_batch_ndims"
        )
    return p._summed(kl_divergence(p.base_dist, q.base_dist))
