"""Optimizers against PyTorch's: several steps from the same weights with the same gradients.

The most important numbers are recorded here as well, so that they are checked without PyTorch.
"""

import copy
import pickle
import warnings

import numpy as np
import pytest

import suiren
from suiren import optim

STEPS = 6
SHAPES = [(3, 4), (2, 2), (4, 3)]  # the first in a group of its own

# id -> (optimizer, options, options of the first group)
CASES = {
    "sgd": ("SGD", {"lr": 0.1}, {"lr": 0.05}),
    "sgd_momentum": ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}, {"lr": 0.02}),
    "sgd_dampening": ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.5}, {"momentum": 0.0}),
    "sgd_nesterov": (
        "SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "maximize": True}, {"lr": 0.3}),
    "adam": ("Adam", {"lr": 0.01}, {"betas": (0.8, 0.9)}),
    "adam_decay": ("Adam", {"lr": 0.01, "weight_decay": 0.1, "maximize": True}, {"eps": 1e-3}),
    "adam_amsgrad": ("Adam", {"lr": 0.01, "amsgrad": True}, {"lr": 0.02}),
    "adamw": ("AdamW", {"lr": 0.01, "weight_decay": 0.1}, {"weight_decay": 0.0}),
    "adamw_amsgrad": ("AdamW", {"lr": 0.01, "amsgrad": True}, {"lr": 0.1}),
    "rmsprop": ("RMSprop", {"lr": 0.01}, {"alpha": 0.9}),
    "rmsprop_momentum": ("RMSprop", {"lr": 0.01, "momentum": 0.9, "weight_decay": 0.1}, {}),
    "rmsprop_centered": (
        "RMSprop", {"lr": 0.01, "centered": True, "momentum": 0.5}, {"momentum": 0.0}),
    "adagrad": ("Adagrad", {"lr": 0.1}, {"lr": 0.2}),
    "adagrad_decay": (
        "Adagrad",
        {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.1}, {}),
    "adadelta": ("Adadelta", {"rho": 0.8, "weight_decay": 0.1}, {"lr": 0.5}),
    "adamax": ("Adamax", {"lr": 0.01, "weight_decay": 0.1}, {"betas": (0.8, 0.9)}),
    "nadam": ("NAdam", {"lr": 0.01, "weight_decay": 0.1}, {"momentum_decay": 0.01}),
    "nadam_decoupled": (
        "NAdam", {"lr": 0.01, "weight_decay": 0.1, "decoupled_weight_decay": True}, {}),
    "radam": ("RAdam", {"lr": 0.01, "betas": (0.9, 0.9)}, {"betas": (0.9, 0.999)}),
    "radam_decoupled": (
        "RAdam", {"lr": 0.01, "weight_decay": 0.1, "decoupled_weight_decay": True}, {}),
    "asgd": ("ASGD", {"lr": 0.1, "lambd": 0.01, "t0": 2, "weight_decay": 0.1}, {"alpha": 0.5}),
    "rprop": ("Rprop", {"lr": 0.01, "step_sizes": (0.006, 0.013)}, {"etas": (0.7, 1.1)}),
    "adafactor": ("Adafactor", {"lr": 0.1, "weight_decay": 0.1}, {"d": 2.0}),
    "adafactor_eps": ("Adafactor", {"lr": 0.1, "eps": (1e-8, 0.5), "maximize": True}, {}),
}

# After STEPS steps: [sum of the first parameter, its first element, sum of the last one, ...]
RECORDED = {
    "sgd": [-1.557369, 0.0007175924, -2.274718, -0.6931626],
    "sgd_momentum": [-1.343837, 0.0172922, -0.4946868, 0.1200897],
    "sgd_dampening": [-1.438203, -0.1001606, -1.070665, -0.2483466],
    "sgd_nesterov": [-6.80669, 1.840624, -4.87729, -2.164638],
    "adam": [-1.575886, 0.06686293, -2.490143, -0.8990581],
    "adam_decay": [-1.769181, 0.1348818, -2.746357, -1.003066],
    "adam_amsgrad": [-1.461526, 0.03242382, -2.490143, -0.8990581],
    "adamw": [-1.56903, 0.06700981, -2.474851, -0.8935056],
    "adamw_amsgrad": [-0.5951017, -0.2440091, -2.48861, -0.8985015],
    "rmsprop": [-1.535469, 0.02040948, -2.059516, -0.7083731],
    "rmsprop_momentum": [0.9932308, -0.5727534, 0.6743807, 0.07304648],
    "rmsprop_centered": [-1.224442, -0.1505811, -1.316626, -0.4671107],
    "adagrad": [-0.788736, -0.3965807, -2.060138, -0.7088334],
    "adagrad_decay": [-1.294967, -0.07328767, -2.06566, -0.728545],
    "adadelta": [-1.670148, 0.09660348, -2.612167, -0.9434795],
    "adamax": [-1.570753, 0.07400018, -2.49119, -0.9069232],
    "nadam": [-1.620018, 0.06682158, -2.543772, -0.9185311],
    "nadam_decoupled": [-1.618796, 0.06686901, -2.548045, -0.9151351],
    "radam": [-1.616737, 0.09205993, -2.549473, -0.9148299],
    "radam_decoupled": [-1.606887, 0.09148, -2.534861, -0.9107049],
    "asgd": [-1.350054, -0.1033595, -2.130105, -0.6434742],
    "rprop": [-1.577104, 0.07199581, -2.489621, -0.8910362],
    "adafactor": [-1.421992, -0.0816744, -2.134563, -0.7428366],
    "adafactor_eps": [-1.821513, 0.2842322, -3.000897, -1.12538],
}


def start_arrays():
    rng = np.random.RandomState(3)
    return [rng.uniform(-1, 1, shape).astype("float32") for shape in SHAPES]


def gradient_array(step, number):
    rng = np.random.RandomState(1000 + 10 * step + number)
    return rng.uniform(-1, 1, SHAPES[number]).astype("float32")


def parameters(module):
    return [module.from_numpy(a.copy()).requires_grad_() for a in start_arrays()]


def make(module, case, params):
    name, options, of_first = CASES[case]
    groups = [{"params": params[:1], **of_first}, {"params": params[1:]}]
    return getattr(module.optim, name)(groups, **options)


def advance(module, optimizer, params, steps):
    for step in steps:
        for number, param in enumerate(params):
            param.grad = module.from_numpy(gradient_array(step, number))
        optimizer.step()


def arrays(params):
    return [param.detach().numpy().copy() for param in params]


def summary(params):
    first, last = arrays(params)[0], arrays(params)[-1]
    return [float(x) for x in (first.sum(), first[0, 0], last.sum(), last[0, 0])]


def as_plain(value):
    """State with arrays in place of tensors, types visible."""
    if hasattr(value, "detach"):
        return value.detach().numpy()
    if isinstance(value, dict):
        return {key: as_plain(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(as_plain(v) for v in value)
    return value


def as_tensors(value, module):
    """The same with tensors of `module` in place of arrays."""
    if isinstance(value, np.ndarray):
        return module.tensor(value.copy())
    if isinstance(value, dict):
        return {key: as_tensors(v, module) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(as_tensors(v, module) for v in value)
    return value


def assert_same(got, want, where="state"):
    assert type(got) is type(want), where
    if isinstance(want, dict):
        assert list(got) == list(want), where  # the order of the keys, too
        for key in want:
            assert_same(got[key], want[key], f"{where}[{key!r}]")
    elif isinstance(want, (list, tuple)):
        assert len(got) == len(want), where
        for i, (a, b) in enumerate(zip(got, want, strict=True)):
            assert_same(a, b, f"{where}[{i}]")
    elif isinstance(want, np.ndarray):
        assert got.dtype == want.dtype and got.shape == want.shape, where
        np.testing.assert_allclose(got, want, rtol=2e-5, atol=1e-6, err_msg=where)
    else:
        assert got == want, where


def one_parameter(value=(1.0, -2.0), grad=(0.5, 0.25)):
    param = suiren.tensor(list(value), requires_grad=True)
    param.grad = suiren.tensor(list(grad))
    return param


# ---- The algorithms


@pytest.mark.parametrize("case", CASES)
def test_steps_give_recorded_numbers(case):
    params = parameters(suiren)
    advance(suiren, make(suiren, case, params), params, range(STEPS))
    np.testing.assert_allclose(summary(params), RECORDED[case], rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("case", CASES)
def test_steps_and_state_agree_with_torch(case):
    torch = pytest.importorskip("torch")
    ours, theirs = parameters(suiren), parameters(torch)
    optimizer, reference = make(suiren, case, ours), make(torch, case, theirs)
    for step in range(STEPS):
        advance(suiren, optimizer, ours, [step])
        advance(torch, reference, theirs, [step])
        for a, b in zip(arrays(ours), arrays(theirs), strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-6, atol=1e-6, err_msg=f"step {step}")
    assert_same(as_plain(optimizer.state_dict()), as_plain(reference.state_dict()))


@pytest.mark.parametrize("case", CASES)
def test_training_goes_on_from_a_state_dict_of_torch(case):
    torch = pytest.importorskip("torch")
    theirs = parameters(torch)
    reference = make(torch, case, theirs)
    advance(torch, reference, theirs, range(3))
    ours = [suiren.from_numpy(a).requires_grad_() for a in arrays(theirs)]
    optimizer = make(suiren, case, ours)
    optimizer.load_state_dict(as_tensors(as_plain(reference.state_dict()), suiren))
    advance(suiren, optimizer, ours, range(3, STEPS))
    advance(torch, reference, theirs, range(3, STEPS))
    for a, b in zip(arrays(ours), arrays(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-6, atol=1e-6)
    back = make(torch, case, theirs)
    back.load_state_dict(as_tensors(as_plain(optimizer.state_dict()), torch))
    assert_same(as_plain(back.state_dict()), as_plain(reference.state_dict()))


def test_adam_of_two_steps_by_hand():
    param = one_parameter((1.0,), (0.5,))
    optimizer = optim.Adam([param], lr=0.1)
    optimizer.step()
    # The bias-corrected averages of one gradient are the gradient and its square.
    np.testing.assert_allclose(param.detach().numpy(), [0.9], rtol=1e-6)
    param.grad = suiren.tensor([-0.5])
    optimizer.step()
    mean = (0.9 * 0.1 * 0.5 - 0.1 * 0.5) / (1 - 0.9**2)
    np.testing.assert_allclose(param.detach().numpy(), [0.9 - 0.1 * mean / 0.5], rtol=1e-6)


def test_muon_makes_matrices_about_orthogonal():
    rng = np.random.RandomState(0)
    for shape in [(4, 6), (6, 4)]:
        param = suiren.zeros(shape, requires_grad=True)
        param.grad = suiren.from_numpy(rng.randn(*shape).astype("float32"))
        optim.Muon([param], lr=1.0, weight_decay=0.0).step()
        values = np.linalg.svd(param.detach().numpy(), compute_uv=False)
        ratio = max(1, shape[0] / shape[1]) ** 0.5
        assert (values > 0.6 * ratio).all() and (values < 1.3 * ratio).all()


def test_muon_agrees_with_torch():
    torch = pytest.importorskip("torch")
    for options in ({}, {"nesterov": False, "adjust_lr_fn": "match_rms_adamw"}):
        moved = []
        for module in (suiren, torch):
            params = parameters(module)
            optimizer = module.optim.Muon(params, lr=0.1, **options)
            advance(module, optimizer, params, range(3))
            moved.append(arrays(params))
        for a, b in zip(*moved, strict=True):
            np.testing.assert_allclose(a, b, atol=2e-2)  # bfloat16 inside


def rosenbrock(param):
    x, y = param[0], param[1]
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2


@pytest.mark.parametrize("line_search", [None, "strong_wolfe"])
def test_lbfgs_finds_the_minimum_of_rosenbrock_as_torch_does(line_search):
    def minimise(module):
        param = module.tensor([-1.2, 1.0], dtype=module.float64, requires_grad=True)
        options = {"lr": 1.0 if line_search else 1e-3, "line_search_fn": line_search}
        optimizer = module.optim.LBFGS([param], max_iter=8, **options)
        losses = []

        def closure():
            optimizer.zero_grad()
            loss = rosenbrock(param)
            loss.backward()
            return loss

        for _ in range(9):
            losses.append(optimizer.step(closure).item())
        return losses, param.detach().numpy(), optimizer.state_dict()["state"][0]

    losses, found, state = minimise(suiren)
    assert losses[0] == pytest.approx(24.2)
    assert losses == sorted(losses, reverse=True)
    if line_search:
        np.testing.assert_allclose(found, [1.0, 1.0], atol=1e-4)
    torch = pytest.importorskip("torch")
    their_losses, theirs, their_state = minimise(torch)
    np.testing.assert_allclose(losses, their_losses, rtol=1e-4, atol=1e-9)
    np.testing.assert_allclose(found, theirs, rtol=1e-6)
    assert list(state) == list(their_state)
    assert state["func_evals"] == their_state["func_evals"]
    assert state["n_iter"] == their_state["n_iter"]


def test_lbfgs_takes_one_group_and_known_line_searches():
    a, b = one_parameter(), one_parameter()
    with pytest.raises(ValueError, match="per-parameter options"):
        optim.LBFGS([{"params": [a]}, {"params": [b]}])
    optimizer = optim.LBFGS([a], line_search_fn="golden")
    with pytest.raises(RuntimeError, match="strong_wolfe"):
        optimizer.step(lambda: (a * a).sum())


# ---- Options


@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop", "Adagrad", "Adamax", "ASGD", "Rprop"])
def test_lr_may_be_a_tensor(name):
    results = []
    for lr in (0.25, suiren.tensor(0.25), suiren.tensor([0.25])):
        params = parameters(suiren)
        advance(suiren, getattr(optim, name)(params, lr=lr), params, range(3))
        results.append(arrays(params))
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6)


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "Adagrad"])
def test_foreach_and_fused_select_nothing(name):
    results = []
    for options in ({}, {"foreach": True}, {"fused": True}, {"foreach": False}):
        params = parameters(suiren)
        advance(suiren, getattr(optim, name)(params, lr=0.1, **options), params, range(3))
        results.append(arrays(params))
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_differentiable_step_gives_the_gradient_of_the_learning_rate():
    torch = pytest.importorskip("torch")

    def slope(module, name):
        lr = module.tensor(0.1, requires_grad=True)
        leaf = module.tensor([1.0, -2.0], requires_grad=True)
        param = leaf.clone()
        param.retain_grad()
        optimizer = getattr(module.optim, name)([param], lr=lr, differentiable=True)
        for _ in range(2 if module is suiren else 1):
            param.grad = module.tensor([0.5, 0.25])
            optimizer.step()
        (param * param).sum().backward()
        return float(lr.grad), leaf.grad.numpy()

    for name in ("SGD", "Adam", "RMSprop", "Adagrad", "Adamax"):
        got, of_leaf = slope(suiren, name)
        assert np.isfinite(got) and (of_leaf != 0).all(), name
    for name in ("SGD", "Adam"):
        lr = torch.tensor(0.1, requires_grad=True)
        leaf = torch.tensor([1.0, -2.0], requires_grad=True)
        param = leaf.clone()
        optimizer = getattr(torch.optim, name)([param], lr=lr, differentiable=True)
        param.grad = torch.tensor([0.5, 0.25])
        optimizer.step()
        (param * param).sum().backward()
        ours = suiren.tensor(0.1, requires_grad=True)
        our_leaf = suiren.tensor([1.0, -2.0], requires_grad=True)
        our_param = our_leaf.clone()
        optimizer = getattr(optim, name)([our_param], lr=ours, differentiable=True)
        our_param.grad = suiren.tensor([0.5, 0.25])
        optimizer.step()
        (our_param * our_param).sum().backward()
        np.testing.assert_allclose(float(ours.grad), float(lr.grad), rtol=1e-5)
        np.testing.assert_allclose(our_leaf.grad.numpy(), leaf.grad.numpy(), rtol=1e-5)


@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop", "Adagrad", "Adadelta", "Adamax",
                                  "NAdam", "RAdam", "ASGD", "Rprop"])
def test_complex_parameters_agree_with_torch(name):
    torch = pytest.importorskip("torch")
    found = []
    for module in (suiren, torch):
        rng = np.random.RandomState(1)
        values = (rng.randn(6, 5) + 1j * rng.randn(6, 5)).astype("complex64")
        param = module.from_numpy(values[0].copy()).requires_grad_()
        optimizer = getattr(module.optim, name)([param], lr=0.1)
        for grad in values[1:]:
            param.grad = module.from_numpy(grad.copy())
            optimizer.step()
        found.append(as_plain(optimizer.state_dict()["state"]) | {"p": arrays([param])[0]})
    assert_same(found[0], found[1])


def test_sparse_gradients():
    torch = pytest.importorskip("torch")
    if not hasattr(suiren, "sparse_coo_tensor"):
        pytest.skip("no sparse tensors")
    for name in ("SGD", "Adagrad", "SparseAdam"):
        found = []
        for module in (suiren, torch):
            param = module.from_numpy(start_arrays()[0].copy()).requires_grad_()
            optimizer = getattr(module.optim, name)([param], lr=0.1)
            for step in range(3):
                rows = module.tensor([[step % 2, 2]])
                values = module.from_numpy(gradient_array(step, 0)[:2].copy())
                param.grad = module.sparse_coo_tensor(rows, values, (3, 4))
                optimizer.step()
            found.append(arrays([param])[0])
        np.testing.assert_allclose(found[0], found[1], rtol=1e-6, err_msg=name)


def test_dense_gradients_are_refused_by_sparse_adam():
    with pytest.raises(RuntimeError, match="dense gradients"):
        optim.SparseAdam([one_parameter()]).step()


@pytest.mark.parametrize(
    "name, options, error, message",
    [
        ("SGD", {"lr": -1}, ValueError, "Invalid learning rate"),
        ("SGD", {"momentum": -1}, ValueError, "Invalid momentum value"),
        ("SGD", {"nesterov": True}, ValueError, "Nesterov momentum requires"),
        ("SGD", {"foreach": True, "fused": True}, RuntimeError, "`fused` and `foreach`"),
        ("Adam", {"betas": (1.0, 0.5)}, ValueError, "Invalid beta parameter at index 0"),
        ("Adam", {"eps": -1}, ValueError, "Invalid epsilon value"),
        ("Adam", {"fused": True, "differentiable": True}, RuntimeError, "differentiable"),
        ("AdamW", {"weight_decay": -1}, ValueError, "Invalid weight_decay value"),
        ("RMSprop", {"alpha": -1}, ValueError, "Invalid alpha value"),
        ("Adagrad", {"lr_decay": -1}, ValueError, "Invalid lr_decay value"),
        ("Adadelta", {"rho": 2}, ValueError, "Invalid rho value"),
        ("NAdam", {"momentum_decay": -1}, ValueError, "Invalid momentum_decay value"),
        ("Rprop", {"etas": (2, 1)}, ValueError, "Invalid eta values"),
        ("Adafactor", {"d": 0}, ValueError, "Clipping threshold d"),
        ("SparseAdam", {"lr": 0.0}, ValueError, "Invalid learning rate"),
        ("Muon", {}, ValueError, "only supports 2D parameters"),
    ],
)
def test_wrong_options(name, options, error, message):
    with pytest.raises(error, match=message):
        getattr(optim, name)([one_parameter()], **options)


def test_tensor_options_have_one_element_and_exclude_foreach():
    param = one_parameter()
    with pytest.raises(ValueError, match="1-element"):
        optim.SGD([param], lr=suiren.tensor([0.1, 0.2]))
    with pytest.raises(ValueError, match="capturable=False and foreach=True"):
        optim.Adam([param], lr=suiren.tensor(0.1), foreach=True)
    with pytest.raises(ValueError, match="both floats or both Tensors"):
        optim.Adam([param], betas=(suiren.tensor(0.9), 0.99))


# ---- Groups, printing


def test_wrong_parameters():
    param = one_parameter()
    with pytest.raises(ValueError, match="empty parameter list"):
        optim.SGD([])
    with pytest.raises(TypeError, match="iterable of Tensors"):
        optim.SGD(param)
    with pytest.raises(TypeError, match="can only optimize Tensors"):
        optim.SGD([1])
    with pytest.raises(TypeError, match="ordered collections"):
        optim.SGD([{"params": {param}}])
    with pytest.raises(ValueError, match="non-leaf"):
        optim.SGD([param * 1])
    with pytest.raises(ValueError, match="more than one parameter group"):
        optim.SGD([{"params": [param]}, {"params": [param]}])
    with pytest.warns(UserWarning, match="duplicate parameters"):
        optim.SGD([param, param])
    optimizer = optim.SGD([param])
    with pytest.raises(TypeError, match="must be a dict"):
        optimizer.add_param_group([one_parameter()])


def test_named_parameters_show_in_the_groups():
    a, b = one_parameter(), one_parameter()
    optimizer = optim.SGD([("weight", a), ("bias", b)], lr=0.1)
    assert optimizer.param_groups[0]["param_names"] == ["weight", "bias"]
    assert list(optimizer.state_dict()["param_groups"][0])[0] == "param_names"
    with pytest.raises(ValueError, match="with/without names"):
        optimizer.add_param_group({"params": [one_parameter()]})
    with pytest.raises(ValueError, match="Some param names are missing"):
        optim.SGD([("weight", one_parameter()), one_parameter()])


def test_groups_can_be_added_later():
    for name in ("SGD", "Adam", "Adagrad"):
        a, b = one_parameter(), one_parameter()
        optimizer = getattr(optim, name)([a], lr=0.1)
        optimizer.step()
        optimizer.add_param_group({"params": b, "lr": 0.2})
        assert optimizer.param_groups[1]["params"][0] is b
        before = b.detach().numpy().copy()
        optimizer.step()
        assert (b.detach().numpy() != before).all()


def test_repr_is_that_of_torch():
    torch = pytest.importorskip("torch")
    for case in CASES:
        ours = make(suiren, case, parameters(suiren))
        theirs = make(torch, case, parameters(torch))
        assert repr(ours) == repr(theirs)


def test_repr():
    assert repr(optim.SGD([one_parameter()], lr=0.1)) == (
        "SGD (\nParameter Group 0\n    dampening: 0\n    differentiable: False\n"
        "    foreach: None\n    fused: None\n    lr: 0.1\n    maximize: False\n"
        "    momentum: 0\n    nesterov: False\n    weight_decay: 0\n)"
    )


# ---- The base class


def test_zero_grad():
    param = one_parameter()
    optimizer = optim.SGD([param])
    optimizer.zero_grad(set_to_none=False)
    assert param.grad.tolist() == [0.0, 0.0]
    optimizer.zero_grad()
    assert param.grad is None
    optimizer.step()  # parameters without a gradient stay as they are
    assert param.tolist() == [1.0, -2.0]


def test_closure_runs_with_gradients_and_its_value_is_returned():
    param = one_parameter()
    optimizer = optim.SGD([param], lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = (param * param).sum()
        loss.backward()
        return loss

    with suiren.no_grad():
        loss = optimizer.step(closure)
    assert loss.item() == 5.0
    np.testing.assert_allclose(param.detach().numpy(), [0.8, -1.6], rtol=1e-6)


def test_hooks_run_in_order_and_can_be_removed():
    calls = []
    param = one_parameter()
    optimizer = optim.Adam([param])
    register = optim.optimizer.register_optimizer_step_pre_hook
    handles = [
        register(lambda *_: calls.append("all")),
        optimizer.register_step_pre_hook(lambda o, args, kwargs: calls.append("pre")),
        optimizer.register_step_post_hook(lambda o, args, kwargs: calls.append("post")),
        optimizer.register_state_dict_pre_hook(lambda o: calls.append("before saving")),
        optimizer.register_state_dict_post_hook(lambda o, d: {**d, "extra": 1}),
        optimizer.register_load_state_dict_pre_hook(lambda o, d: calls.append(d["extra"])),
        optimizer.register_load_state_dict_post_hook(lambda o: calls.append("loaded")),
    ]
    optimizer.step()
    saved = optimizer.state_dict()
    optimizer.load_state_dict(saved)
    assert calls == ["all", "pre", "post", "before saving", 1, "loaded"]
    for handle in handles:
        handle.remove()
    optimizer.step()
    assert "extra" not in optimizer.state_dict()
    assert len(calls) == 6


def test_pre_hook_may_replace_the_arguments():
    optimizer = optim.SGD([one_parameter()])
    with optimizer.register_step_pre_hook(lambda o, args, kwargs: ((lambda: 7.0,), {})):
        assert optimizer.step() == 7.0
    optimizer.register_step_pre_hook(lambda o, args, kwargs: 1)
    with pytest.raises(RuntimeError, match="must return None or a tuple"):
        optimizer.step()


class Descent(optim.Optimizer):
    """A user's own optimizer, as PyTorch's documentation has them written."""

    def __init__(self, params, lr=optim.optimizer.required):
        super().__init__(params, {"lr": lr})

    @suiren.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                state["step"] = state.get("step", 0) + 1
                p.add_(p.grad, alpha=-group["lr"] / state["step"])


def test_users_own_optimizer():
    with pytest.raises(ValueError, match="didn't specify a value of required"):
        Descent([one_parameter()])
    param = one_parameter()
    optimizer = Descent([param], lr=1.0)
    calls = []
    optimizer.register_step_post_hook(lambda *_: calls.append(1))
    optimizer.step()
    optimizer.step()
    np.testing.assert_allclose(param.detach().numpy(), [0.25, -2.375])
    assert calls == [1, 1]
    assert optimizer.state_dict()["state"] == {0: {"step": 2}}
    with pytest.raises(NotImplementedError):
        optim.Optimizer([one_parameter()], {}).step()


def test_hooks_run_once_when_a_subclass_calls_its_parents_step():
    class Twice(optim.SGD):
        def step(self, closure=None):
            super().step(closure)
            return super().step(closure)

    param = one_parameter()
    optimizer = Twice([param], lr=1.0)
    calls = []
    optimizer.register_step_pre_hook(lambda *_: calls.append(1))
    optimizer.step()
    assert param.tolist() == [0.0, -2.5] and calls == [1]


# ---- State


def test_step_is_a_float32_scalar_tensor():
    param = one_parameter()
    optimizer = optim.Adam([param])
    for _ in range(3):
        optimizer.step()
    for step in (optimizer.state_dict()["state"][0]["step"], optimizer.state[param]["step"]):
        assert isinstance(step, suiren.Tensor)
        assert step.dtype == suiren.float32 and tuple(step.shape) == () and float(step) == 3.0


def test_step_tensor_that_somebody_holds_goes_on_counting():
    param = one_parameter()
    optimizer = optim.Adam([param])
    optimizer.step()
    state = optimizer.state[param]
    step = state["step"]
    optimizer.step()
    assert float(step) == 2.0 and state["step"] is step


def test_step_tensor_that_somebody_changes_counts_from_there():
    def second_update(change):
        param = one_parameter()
        optimizer = optim.Adam([param], lr=0.1)
        optimizer.step()
        change(optimizer.state[param])
        before = param.detach().numpy().copy()
        param.grad = suiren.tensor([-1.0, 1.0])
        optimizer.step()
        return float(optimizer.state[param]["step"]), param.detach().numpy() - before

    def replace(state):
        state["step"] = suiren.tensor(99.0)

    by_value = second_update(lambda state: state["step"].fill_(99.0))
    by_tensor = second_update(replace)
    untouched = second_update(lambda state: None)
    assert by_value[0] == by_tensor[0] == 100.0 and untouched[0] == 2.0
    np.testing.assert_array_equal(by_value[1], by_tensor[1])
    assert (by_value[1] != untouched[1]).any()


def test_state_can_be_cleared_and_replaced():
    for reset in (
        lambda o: o.state.clear(),
        lambda o: setattr(o, "state", type(o.state)(dict)),
        lambda o: o.state[o.param_groups[0]["params"][0]].clear(),
    ):
        param = one_parameter()
        optimizer = optim.Adam([param])
        optimizer.step()
        reset(optimizer)
        optimizer.step()
        assert float(optimizer.state[param]["step"]) == 1.0


def test_nothing_is_observed_in_a_step(monkeypatch):
    """An observed value would flush the trace in the middle of the update."""
    cases = []
    for case in CASES:
        params = parameters(suiren)
        optimizer = make(suiren, case, params)
        advance(suiren, optimizer, params, range(2))
        cases.append((optimizer, params))

    def refuse(*args):
        raise AssertionError("a value was observed")

    for name in ("item", "tolist", "numpy", "__float__", "__bool__", "__int__", "__index__"):
        monkeypatch.setattr(suiren.Tensor, name, refuse)
    for optimizer, _ in cases:
        optimizer.step()


def test_two_optimizers_from_one_state_dict_count_for_themselves():
    param = one_parameter()
    first = optim.Adam([param])
    first.step()
    second = optim.Adam([param])
    second.load_state_dict(first.state_dict())
    second.step()
    assert float(first.state[param]["step"]) == 1.0
    assert float(second.state[param]["step"]) == 2.0


def test_loaded_state_takes_the_dtype_of_the_parameter_but_steps_do_not():
    param = one_parameter()
    optimizer = optim.Adam([param])
    optimizer.step()
    half = suiren.tensor([1.0, 2.0], dtype=suiren.float16, requires_grad=True)
    other = optim.Adam([half])
    other.load_state_dict(optimizer.state_dict())
    assert other.state[half]["exp_avg"].dtype == suiren.float16
    assert other.state[half]["step"].dtype == suiren.float32


def test_state_dicts_of_old_get_what_they_lack():
    param = one_parameter()
    optimizer = optim.Adam([param])
    optimizer.step()
    saved = copy.deepcopy(optimizer.state_dict())
    del saved["param_groups"][0]["amsgrad"]
    saved["state"][0]["step"] = 5  # once a plain number
    optimizer.load_state_dict(saved)
    assert optimizer.param_groups[0]["amsgrad"] is False
    assert float(optimizer.state[param]["step"]) == 5.0
    optimizer.step()
    assert float(optimizer.state[param]["step"]) == 6.0


def test_state_dicts_that_do_not_fit():
    optimizer = optim.SGD([one_parameter()])
    saved = optimizer.state_dict()
    with pytest.raises(ValueError, match="different number of parameter groups"):
        optimizer.load_state_dict({**saved, "param_groups": []})
    with pytest.raises(ValueError, match="doesn't match the size"):
        optimizer.load_state_dict({**saved, "param_groups": [{"params": [0, 1]}]})


@pytest.mark.parametrize("copier", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_copies_train_on_for_themselves(copier):
    param = one_parameter()
    optimizer = optim.NAdam([param])
    optimizer.step()
    twin = copier(optimizer)
    other = twin.param_groups[0]["params"][0]
    assert other is not param
    grad = suiren.tensor([0.5, 0.25])
    param.grad, other.grad = grad, grad.clone()
    optimizer.step()
    twin.step()
    np.testing.assert_array_equal(param.detach().numpy(), other.detach().numpy())
    assert repr(twin) == repr(optimizer)


# ---- Averages of weights


def test_averaged_model():
    swa_utils = optim.swa_utils
    for average, want in (
        ({}, 3.0),
        ({"avg_fn": swa_utils.get_swa_avg_fn()}, 3.0),
        ({"multi_avg_fn": swa_utils.get_ema_multi_avg_fn(0.5)}, 3.5),
        ({"avg_fn": swa_utils.get_ema_avg_fn(0.5)}, 3.5),
    ):
        model = suiren.nn.Linear(2, 1, bias=False)
        averaged = swa_utils.AveragedModel(model, **average)
        for value in (2.0, 4.0, 4.0) if want == 3.5 else (1.0, 3.0, 5.0):
            with suiren.no_grad():
                model.weight.fill_(value)
            averaged.update_parameters(model)
        np.testing.assert_allclose(averaged.module.weight.detach().numpy(), [[want, want]])
        assert int(averaged.n_averaged) == 3
        assert averaged(suiren.ones(1, 2)).tolist() == [[2 * want]]
        assert list(averaged.state_dict()) == ["n_averaged", "module.weight"]


def test_update_bn():
    model = suiren.nn.Sequential(suiren.nn.BatchNorm1d(2)).eval()
    batches = [suiren.tensor([[0.0, 1.0], [2.0, 3.0]]), suiren.tensor([[4.0, 5.0], [6.0, 7.0]])]
    optim.swa_utils.update_bn([(b, None) for b in batches], model)
    np.testing.assert_allclose(model[0].running_mean.numpy(), [3.0, 4.0])
    np.testing.assert_allclose(model[0].running_var.numpy(), [2.0, 2.0])
    assert model[0].momentum == 0.1 and not model.training


def test_swalr_agrees_with_torch():
    torch = pytest.importorskip("torch")
    for options in ({}, {"anneal_strategy": "linear", "anneal_epochs": 3}, {"anneal_epochs": 0}):
        rates = []
        for module in (suiren, torch):
            optimizer = module.optim.SGD(parameters(module), lr=0.1)
            scheduler = module.optim.swa_utils.SWALR(optimizer, 0.02, **options)
            rates.append([])
            for _ in range(12):
                optimizer.step()
                scheduler.step()
                rates[-1].append(scheduler.get_last_lr()[0])
        np.testing.assert_allclose(*rates, rtol=1e-12)


def test_no_step_warns():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for case in CASES:
            params = parameters(suiren)
            advance(suiren, make(suiren, case, params), params, range(2))


def test_other_parameters_and_state_can_be_swapped_in():
    param, other = one_parameter(), one_parameter()
    optimizer = optim.Adam([param], lr=0.1)
    optimizer.step()
    state = copy.deepcopy(optimizer.state_dict())
    before = param.tolist()
    with optim.swap_in_optimizer_params_and_state(optimizer, [other], state):
        optimizer.step()
    assert param.tolist() == before and other.tolist() != [1.0, -2.0]
    assert float(state["state"][0]["step"]) == 2.0
    assert float(optimizer.state[param]["step"]) == 1.0
