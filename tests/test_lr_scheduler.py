"""Learning-rate schedulers against PyTorch's, and against recorded rates."""

import copy
import warnings

import numpy as np
import pytest

import suiren
from suiren.optim import lr_scheduler as schedulers

EPOCHS = 14
METRICS = [3.0, 2.5, 2.6, 2.55, 2.7, 2.0, 2.0, 2.0, 2.1, 1.0, 1.2, 1.3, 1.3, 1.4]


class Halving:
    """A callable object, whose attributes are saved."""

    def __init__(self):
        self.base = 0.5

    def __call__(self, epoch):
        return self.base**epoch


# name -> (module of schedulers, optimizer) -> scheduler
CASES = {
    "lambda": lambda s, o: s.LambdaLR(o, lambda epoch: 0.9**epoch),
    "lambda_list": lambda s, o: s.LambdaLR(o, [Halving(), lambda epoch: 1 / (epoch + 1)]),
    "multiplicative": lambda s, o: s.MultiplicativeLR(o, lambda epoch: 0.95),
    "step": lambda s, o: s.StepLR(o, 3, gamma=0.5),
    "multi_step": lambda s, o: s.MultiStepLR(o, [2, 5, 5, 9], gamma=0.3),
    "constant": lambda s, o: s.ConstantLR(o, factor=0.5, total_iters=3),
    "linear": lambda s, o: s.LinearLR(o, 0.1, 0.8, total_iters=7),
    "exponential": lambda s, o: s.ExponentialLR(o, 0.8),
    "polynomial": lambda s, o: s.PolynomialLR(o, total_iters=8, power=2.0),
    "cosine": lambda s, o: s.CosineAnnealingLR(o, T_max=5, eta_min=0.01),
    "restarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, 3, T_mult=2, eta_min=0.001),
    "restarts_even": lambda s, o: s.CosineAnnealingWarmRestarts(o, 4),
    "cyclic": lambda s, o: s.CyclicLR(o, 0.01, [0.1, 0.2], step_size_up=3, step_size_down=2),
    "cyclic_halved": lambda s, o: s.CyclicLR(o, 0.01, 0.1, step_size_up=2, mode="triangular2"),
    "cyclic_range": lambda s, o: s.CyclicLR(
        o, 0.01, 0.1, step_size_up=2, mode="exp_range", gamma=0.9, cycle_momentum=False),
    "cyclic_own": lambda s, o: s.CyclicLR(
        o, 0.01, 0.1, step_size_up=2, scale_fn=lambda x: 1 / (1 + x), scale_mode="iterations"),
    "one_cycle": lambda s, o: s.OneCycleLR(o, max_lr=0.5, total_steps=15),
    "one_cycle_three": lambda s, o: s.OneCycleLR(
        o, max_lr=[0.5, 0.2], epochs=5, steps_per_epoch=3, anneal_strategy="linear",
        three_phase=True),
    "plateau": lambda s, o: s.ReduceLROnPlateau(o, patience=1),
    "plateau_max": lambda s, o: s.ReduceLROnPlateau(
        o, mode="max", factor=0.5, patience=0, threshold=0.1, threshold_mode="abs", cooldown=1,
        min_lr=[0.01, 0.02]),
    "sequential": lambda s, o: s.SequentialLR(
        o, [s.ConstantLR(o, 0.1, 3), s.ExponentialLR(o, 0.9), s.StepLR(o, 2)], [3, 8]),
    "sequential_in_sequential": lambda s, o: s.SequentialLR(
        o, [s.LinearLR(o, 0.2, total_iters=2), s.CosineAnnealingLR(o, 6)], [4]),
    "chained": lambda s, o: s.ChainedScheduler([s.ConstantLR(o, 0.1, 4), s.ExponentialLR(o, 0.9)]),
}

# The rates of the first group in the first nine epochs
RECORDED = {
    "lambda": [0.1, 0.09, 0.081, 0.0729, 0.06561, 0.059049, 0.0531441, 0.04782969, 0.04304672],
    "lambda_list": [0.1, 0.05, 0.025, 0.0125, 0.00625, 0.003125, 0.0015625, 0.00078125,
        0.000390625],
    "multiplicative": [0.1, 0.095, 0.09025, 0.0857375, 0.08145062, 0.07737809, 0.07350919,
        0.06983373, 0.06634204],
    "step": [0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.025, 0.025, 0.025],
    "multi_step": [0.1, 0.1, 0.03, 0.03, 0.03, 0.0027, 0.0027, 0.0027, 0.0027],
    "constant": [0.05, 0.05, 0.05, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1],
    "linear": [0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08, 0.08],
    "exponential": [0.1, 0.08, 0.064, 0.0512, 0.04096, 0.032768, 0.0262144, 0.02097152,
        0.01677722],
    "polynomial": [0.1, 0.0765625, 0.05625, 0.0390625, 0.025, 0.0140625, 0.00625, 0.0015625, 0],
    "cosine": [0.1, 0.09140576, 0.06890576, 0.04109424, 0.01859424, 0.01, 0.01859424, 0.04109424,
        0.06890576],
    "restarts": [0.1, 0.07525, 0.02575, 0.1, 0.09336826, 0.07525, 0.0505, 0.02575, 0.007631743],
    "restarts_even": [0.1, 0.08535534, 0.05, 0.01464466, 0.1, 0.08535534, 0.05, 0.01464466, 0.1],
    "cyclic": [0.01, 0.04, 0.07, 0.1, 0.055, 0.01, 0.04, 0.07, 0.1],
    "cyclic_halved": [0.01, 0.055, 0.1, 0.055, 0.01, 0.0325, 0.055, 0.0325, 0.01],
    "cyclic_range": [0.01, 0.0505, 0.0829, 0.042805, 0.01, 0.03657205, 0.05782969, 0.03152336,
        0.01],
    "cyclic_own": [0.01, 0.0325, 0.04, 0.02125, 0.01, 0.0175, 0.02285714, 0.015625, 0.01],
    "one_cycle": [0.02, 0.1103624, 0.313405, 0.4762325, 0.4972077, 0.4752423, 0.4332632,
        0.3750005, 0.305631],
    "one_cycle_three": [0.02, 0.1571429, 0.2942857, 0.4314286, 0.4314286, 0.2942857, 0.1571429,
        0.02, 0.01714314],
    "plateau": [0.1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.01, 0.001],
    "plateau_max": [0.1, 0.1, 0.05, 0.05, 0.025, 0.025, 0.0125, 0.0125, 0.01],
    "sequential": [0.01, 0.01, 0.01, 0.1, 0.09, 0.081, 0.0729, 0.06561, 0.1],
    "sequential_in_sequential": [0.02, 0.06, 0.1, 0.1, 0.1, 0.09330127, 0.075, 0.05, 0.025],
    "chained": [0.01, 0.009, 0.0081, 0.00729, 0.06561, 0.059049, 0.0531441, 0.04782969,
        0.04304672],
}


def make_optimizer(module, name="SGD", lr=0.1):
    params = [module.ones(2, requires_grad=True), module.ones(3, requires_grad=True)]
    options = {"momentum": 0.9} if name == "SGD" else {}
    groups = [{"params": params[:1]}, {"params": params[1:], "lr": 0.05}]
    return getattr(module.optim, name)(groups, lr=lr, **options)


def momentum_of(group):
    return group["momentum"] if "momentum" in group else group["betas"][0]


def advance(optimizer, scheduler, epochs):
    """(rate, momentum) of each group in each epoch."""
    found = []
    for epoch in epochs:
        found.append([(float(g["lr"]), momentum_of(g)) for g in optimizer.param_groups])
        optimizer.step()
        if hasattr(scheduler, "patience"):
            scheduler.step(METRICS[epoch])
        else:
            scheduler.step()
        last = [float(g["lr"]) for g in optimizer.param_groups]
        assert [float(lr) for lr in scheduler.get_last_lr()] == last
    return np.array(found)


@pytest.mark.parametrize("case", CASES)
def test_rates_are_as_recorded(case):
    optimizer = make_optimizer(suiren)
    found = advance(optimizer, CASES[case](schedulers, optimizer), range(9))
    np.testing.assert_allclose(found[:, 0, 0], RECORDED[case], rtol=1e-6)


@pytest.mark.parametrize("name", ["SGD", "Adam"])
@pytest.mark.parametrize("case", CASES)
def test_rates_and_momenta_agree_with_torch(case, name):
    torch = pytest.importorskip("torch")
    ours, theirs = make_optimizer(suiren, name), make_optimizer(torch, name)
    scheduler = CASES[case](schedulers, ours)
    reference = CASES[case](torch.optim.lr_scheduler, theirs)
    np.testing.assert_allclose(
        advance(ours, scheduler, range(EPOCHS)), advance(theirs, reference, range(EPOCHS)),
        rtol=1e-12, atol=1e-15,
    )
    assert_same(scheduler.state_dict(), reference.state_dict())


def assert_same(got, want):
    if isinstance(want, dict):
        assert set(got) == set(want)
        for key in want:
            assert_same(got[key], want[key])
    elif isinstance(want, list):
        assert len(got) == len(want)
        for a, b in zip(got, want, strict=True):
            assert_same(a, b)
    elif isinstance(want, float):
        assert got == pytest.approx(want, rel=1e-12)
    else:
        assert got == want


@pytest.mark.parametrize("case", CASES)
def test_schedule_goes_on_from_its_state_dict(case):
    optimizer = make_optimizer(suiren)
    scheduler = CASES[case](schedulers, optimizer)
    advance(optimizer, scheduler, range(5))
    other = make_optimizer(suiren)
    resumed = CASES[case](schedulers, other)
    resumed.load_state_dict(copy.deepcopy(scheduler.state_dict()))
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    np.testing.assert_array_equal(
        advance(other, resumed, range(5, EPOCHS)), advance(optimizer, scheduler, range(5, EPOCHS))
    )


@pytest.mark.parametrize(
    "case",
    ["step", "multi_step", "constant", "linear", "exponential", "polynomial", "cosine",
     "restarts", "restarts_even"],
)
def test_jumping_to_an_epoch_uses_the_closed_form(case):
    torch = pytest.importorskip("torch")
    rates = []
    for module in (suiren, torch):
        optimizer = make_optimizer(module)
        scheduler = CASES[case](module.optim.lr_scheduler, optimizer)
        optimizer.step()
        rates.append([])
        for epoch in (4, 2, 9, 0, 30):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                scheduler.step(epoch)
            rates[-1].append([group["lr"] for group in optimizer.param_groups])
    np.testing.assert_allclose(*rates, rtol=1e-12)


def test_fractional_epochs_of_warm_restarts():
    optimizer = make_optimizer(suiren)
    scheduler = schedulers.CosineAnnealingWarmRestarts(optimizer, T_0=2)
    scheduler.step(2.5)
    height = (1 + np.cos(np.pi * 0.25)) / 2
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1 * height)


@pytest.mark.parametrize("case", ["exponential", "linear", "cosine", "chained", "sequential",
                                  "step", "one_cycle", "cyclic"])
def test_rate_that_is_a_tensor_keeps_its_identity(case):
    plain = make_optimizer(suiren)
    want = advance(plain, CASES[case](schedulers, plain), range(6))
    optimizer = make_optimizer(suiren, lr=suiren.tensor(0.1))
    lr = optimizer.param_groups[0]["lr"]
    found = advance(optimizer, CASES[case](schedulers, optimizer), range(6))
    if case != "sequential":  # which sets the groups back to their initial rates
        assert optimizer.param_groups[0]["lr"] is lr
    np.testing.assert_allclose(found, want, rtol=1e-5)


def test_stepping_before_the_optimizer_warns_once():
    optimizer = make_optimizer(suiren)
    scheduler = schedulers.StepLR(optimizer, 3)
    with pytest.warns(UserWarning, match="before `optimizer.step"):
        scheduler.step()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scheduler.step()
        right = make_optimizer(suiren)
        scheduler = schedulers.StepLR(right, 3)
        right.step()
        scheduler.step()


def test_get_lr_outside_of_step_warns():
    optimizer = make_optimizer(suiren)
    scheduler = schedulers.StepLR(optimizer, 3)
    optimizer.step()
    with pytest.warns(UserWarning, match="get_last_lr"):
        scheduler.get_lr()
    with pytest.warns(UserWarning, match="epoch parameter"):
        scheduler.step(4)
    assert scheduler.get_last_lr() == pytest.approx([0.01, 0.005])


def test_own_schedule():
    class Inverse(schedulers.LRScheduler):
        def get_lr(self):
            return [base / (1 + self.last_epoch) for base in self.base_lrs]

    optimizer = make_optimizer(suiren)
    found = advance(optimizer, Inverse(optimizer), range(3))
    np.testing.assert_allclose(found[:, 0, 0], [0.1, 0.05, 0.1 / 3])


def test_plateau_takes_tensors_and_cools_down():
    optimizer = make_optimizer(suiren)
    scheduler = schedulers.ReduceLROnPlateau(optimizer, patience=0, cooldown=2, factor=0.5)
    rates = []
    for loss in (1.0, 1.0, 1.0, 1.0, 1.0):
        scheduler.step(suiren.tensor(loss))
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == [0.1, 0.05, 0.05, 0.05, 0.025]


@pytest.mark.parametrize(
    "build, error, message",
    [
        (lambda s, o: s.StepLR(1, 3), TypeError, "is not an Optimizer"),
        (lambda s, o: s.StepLR(o, 3, last_epoch=2), KeyError, "initial_lr"),
        (lambda s, o: s.LambdaLR(o, [abs]), ValueError, "Expected 2 lr_lambdas"),
        (lambda s, o: s.ConstantLR(o, factor=2), ValueError, "between 0 and 1"),
        (lambda s, o: s.LinearLR(o, start_factor=0), ValueError, "greater than 0"),
        (lambda s, o: s.LinearLR(o, end_factor=2), ValueError, "between 0 and 1"),
        (lambda s, o: s.CosineAnnealingWarmRestarts(o, 0), ValueError, "T_0"),
        (lambda s, o: s.CosineAnnealingWarmRestarts(o, 3, 0), ValueError, "T_mult"),
        (lambda s, o: s.CosineAnnealingWarmRestarts(o, 3).step(-1), ValueError, "non-negative"),
        (lambda s, o: s.CyclicLR(o, [0.1], 0.2), ValueError, "same length"),
        (lambda s, o: s.CyclicLR(o, 0.1, 0.2, mode="x"), ValueError, "mode is invalid"),
        (lambda s, o: s.OneCycleLR(o, 0.1), ValueError, "either total_steps OR"),
        (lambda s, o: s.OneCycleLR(o, 0.1, total_steps=-1), ValueError, "positive integer"),
        (lambda s, o: s.OneCycleLR(o, 0.1, total_steps=3, pct_start=2), ValueError, "pct_start"),
        (lambda s, o: s.OneCycleLR(o, 0.1, total_steps=3, anneal_strategy="x"), ValueError,
         "must be one of"),
        (lambda s, o: s.ReduceLROnPlateau(o, factor=1.0), ValueError, "Factor should be"),
        (lambda s, o: s.ReduceLROnPlateau(o, mode="x"), ValueError, "mode x is unknown"),
        (lambda s, o: s.ReduceLROnPlateau(o, min_lr=[1]), ValueError, "expected 2 min_lrs"),
        (lambda s, o: s.SequentialLR(o, [], []), ValueError, "at least one scheduler"),
        (lambda s, o: s.SequentialLR(o, [s.StepLR(o, 3)], [1]), ValueError, "one more than"),
        (lambda s, o: s.SequentialLR(o, [1, s.StepLR(o, 3)], [1]), TypeError, "optimizer"),
        (lambda s, o: s.ChainedScheduler([]), ValueError, "at least one scheduler"),
        (lambda s, o: s.ChainedScheduler([s.ReduceLROnPlateau(o)]), ValueError, "metric"),
        (lambda s, o: s.ChainedScheduler([s.StepLR(o, 3), s.StepLR(make_optimizer(suiren), 3)]),
         ValueError, "same optimizer"),
    ],
)
def test_wrong_options(build, error, message):
    with pytest.raises(error, match=message):
        build(schedulers, make_optimizer(suiren))


def test_cycling_momentum_needs_momentum():
    optimizer = suiren.optim.Adagrad([suiren.ones(2, requires_grad=True)])
    for build in (lambda: schedulers.CyclicLR(optimizer, 0.1, 0.2),
                  lambda: schedulers.OneCycleLR(optimizer, 0.1, total_steps=3)):
        with pytest.raises(ValueError, match="cycle_momentum"):
            build()


def test_one_cycle_ends():
    optimizer = make_optimizer(suiren)
    scheduler = schedulers.OneCycleLR(optimizer, 0.1, total_steps=3)
    with pytest.raises(ValueError, match="Tried to step 4 times"):
        advance(optimizer, scheduler, range(5))
