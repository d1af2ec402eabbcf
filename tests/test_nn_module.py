"""nn.Module: registration, state, hooks, repr, copies; containers; parametrizations.

Most tests run one scenario on Suiren and, where PyTorch is installed, on PyTorch too; a scenario
returns what happened as plain values, and the most important of these are also recorded here.
"""

import copy
import inspect
import pickle
import warnings
from collections import OrderedDict

import numpy as np
import pytest

import suiren
from suiren import nn


def both(scenario, recorded=None):
    """Run on Suiren; compare with the recorded outcome and with PyTorch's, if it is there."""
    got = scenario(suiren, nn)
    if recorded is not None:
        assert got == recorded
    try:
        import torch
    except ImportError:
        if recorded is None:
            pytest.skip("needs torch")
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's own, which pytest would make errors
        want = scenario(torch, torch.nn)
    assert got == want


def message(function, *args, **kwargs):
    """The type and text of the exception, or the result's type."""
    try:
        return "no error: " + type(function(*args, **kwargs)).__name__
    except Exception as error:
        return f"{type(error).__name__}: {error}"


# ---- registration


def test_attribute_assignment_registers():
    def scenario(lib, nn):
        m = nn.Module()
        m.w = nn.Parameter(lib.ones(2))
        m.child = nn.Linear(2, 2)
        m.plain = lib.ones(2)
        m.buf = nn.Buffer(lib.ones(3), persistent=False)
        m.register_buffer("stat", lib.zeros(1))
        m.stat = lib.ones(1)
        m.none = None
        log = [list(m._parameters), list(m._buffers), list(m._modules), "plain" in m.__dict__]
        log += [list(m.state_dict()), [n for n, _ in m.named_buffers()]]
        m.plain = nn.Parameter(lib.ones(2))  # changes its kind
        m.w = None
        log += ["plain" in m.__dict__, [n for n, _ in m.named_parameters()], m.w is None]
        m.child = None
        del m.stat
        log += [list(m._modules), list(m._buffers), isinstance(m.buf, nn.Buffer)]
        return log

    both(scenario)


ASSIGNMENT_ERRORS = [
    "TypeError: cannot assign 'int' as parameter 'weight' (torch.nn.Parameter or None expected)",
    "TypeError: cannot assign 'torch.FloatTensor' as parameter 'weight' "
    "(torch.nn.Parameter or None expected)",
    "TypeError: cannot assign 'int' as buffer 'running_mean' "
    "(torch.nn.Buffer, torch.Tensor or None expected)",
    "TypeError: cannot assign 'int' as child module '0' (torch.nn.Module or None expected)",
    "AttributeError: 'Module' object has no attribute 'missing'",
    "KeyError: 'parameter name can\\'t contain \".\"'",
    "KeyError: 'module name can\\'t be empty string \"\"'",
    "KeyError: \"attribute 'training' already exists\"",
    "TypeError: int is not a Module subclass",
    "TypeError: cannot assign 'int' object to buffer 'a' (torch Tensor or None required)",
    "TypeError: Module.__init__() got an unexpected keyword argument 'a'",
]


def test_registration_errors():
    def scenario(lib, nn):
        return [
            message(setattr, nn.Linear(2, 2), "weight", 3),
            message(setattr, nn.Linear(2, 2), "weight", lib.ones(2)),
            message(setattr, nn.BatchNorm1d(2), "running_mean", 3),
            message(setattr, nn.Sequential(nn.ReLU()), "0", 3),
            message(getattr, nn.Module(), "missing"),
            message(nn.Module().register_parameter, "a.b", None),
            message(nn.Module().add_module, "", None),
            message(nn.Module().register_buffer, "training", None),
            message(nn.Sequential, 3),
            message(nn.Module().register_buffer, "a", 3),
            message(nn.Module, a=3),
        ]

    both(scenario, ASSIGNMENT_ERRORS)


def test_assignment_before_init_is_refused():
    def scenario(lib, nn):
        class Early(nn.Module):
            def __init__(self, what):
                self.early = what

        return [message(Early, nn.Parameter(lib.ones(1))), message(Early, nn.ReLU()),
                message(Early, nn.Buffer(lib.ones(1)))]

    both(scenario, [
        "AttributeError: cannot assign parameters before Module.__init__() call",
        "AttributeError: cannot assign module before Module.__init__() call",
        "AttributeError: cannot assign buffer before Module.__init__() call",
    ])


def test_missing_forward_and_lookups():
    def scenario(lib, nn):
        m = nn.Sequential(OrderedDict(a=nn.Linear(2, 2), b=nn.Sequential(nn.BatchNorm1d(2))))
        return [
            message(nn.Module(), 3),
            m.get_submodule("b.0") is m.b[0],
            tuple(m.get_parameter("a.weight").shape),
            m.get_buffer("b.0.running_mean") is m.b[0].running_mean,
            message(m.get_submodule, "b.9"),
            message(m.get_parameter, "a.in_features"),
            message(m.get_buffer, "a.weight"),
            message(m.set_submodule, "", nn.ReLU()),
        ]

    both(scenario)


def test_iterators_give_each_object_once():
    def scenario(lib, nn):
        shared = nn.Linear(2, 2)
        m = nn.Sequential(shared, nn.Sequential(shared, nn.BatchNorm1d(2)), shared)
        m.extra = shared.weight
        return [
            [n for n, _ in m.named_parameters()],
            [n for n, _ in m.named_parameters(remove_duplicate=False)],
            [n for n, _ in m.named_parameters(prefix="p", recurse=False)],
            [n for n, _ in m.named_modules()],
            [n for n, _ in m.named_children()],
            [n for n, _ in m.named_buffers()],
            len(list(m.modules())), len(list(m.children())), len(list(m.parameters())),
        ]

    both(scenario)


def test_modes_apply_and_gradients():
    def scenario(lib, nn):
        m = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
        seen = []
        m.apply(lambda x: seen.append(type(x).__name__))
        log = [seen, m.eval() is m, m[1].training, m.train()[1].training]
        log.append(message(m.train, "yes"))
        m(lib.ones(1, 2)).sum().backward()
        log.append(m[0].weight.grad is not None)
        m.zero_grad(set_to_none=False)
        log.append(float(m[0].weight.grad.abs().sum()))
        m.zero_grad()
        log.append(m[0].weight.grad is None)
        m.requires_grad_(False)
        log.append([p.requires_grad for p in m.parameters()])
        return log

    both(scenario)


def test_conversion_keeps_the_parameter_objects():
    def scenario(lib, nn):
        m = nn.BatchNorm1d(2)
        weight = m.weight
        m.double()
        log = [m.weight is weight, str(weight.dtype), str(m.num_batches_tracked.dtype)]
        log.append(str(m.to(lib.float16).weight.dtype))
        log.append(str(m.to("cpu", lib.float32).running_mean.dtype))
        log.append(str(m.to(lib.zeros(1, dtype=lib.bfloat16)).weight.dtype))
        log.append(message(m.to, lib.int32))
        log.append(m.type(lib.float64) is m)
        return log

    both(scenario)


# ---- state


def test_state_dict_names_order_and_sharing():
    def scenario(lib, nn):
        m = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
        state = m.state_dict()
        with lib.no_grad():
            state["0.bias"].fill_(7.0)
        log = [list(state), m[0].bias.tolist(), state["0.weight"].requires_grad]
        log.append({k: dict(v) for k, v in state._metadata.items()})
        log.append(list(m.state_dict(prefix="net.")))
        log.append(m.state_dict(keep_vars=True)["0.weight"] is m[0].weight)
        return log

    both(scenario)


def test_load_state_dict_errors_are_torchs():
    def scenario(lib, nn):
        m = nn.Linear(2, 3)
        bad = {"weight": lib.zeros(2, 2), "extra": lib.zeros(1)}
        log = [message(m.load_state_dict, bad), message(m.load_state_dict, 3)]
        log.append(str(m.load_state_dict(m.state_dict())))
        result = m.load_state_dict({"other.x": lib.zeros(1)}, strict=False)
        log += [result.missing_keys, result.unexpected_keys]
        log.append(message(m.load_state_dict, {"weight": 3, "bias": lib.zeros(3)}))
        return log

    both(scenario)
    text = message(nn.Linear(2, 3).load_state_dict, {"weight": suiren.zeros(2, 2), "extra": 1})
    assert text == (
        "RuntimeError: Error(s) in loading state_dict for Linear:\n"
        '\tMissing key(s) in state_dict: "bias". \n'
        '\tUnexpected key(s) in state_dict: "extra". \n'
        "\tsize mismatch for weight: copying a param with shape torch.Size([2, 2]) from "
        "checkpoint, the shape in current model is torch.Size([3, 2]).")


def test_load_with_assign_and_extra_state():
    def scenario(lib, nn):
        class Counter(nn.Module):
            def __init__(self):
                super().__init__()
                self.count = 0

            def get_extra_state(self):
                return {"count": self.count}

            def set_extra_state(self, state):
                self.count = state["count"]

        source = nn.Sequential(nn.Linear(2, 2), Counter())
        source[1].count = 5
        target = nn.Sequential(nn.Linear(2, 2), Counter())
        state = source.state_dict()
        target.load_state_dict(state, assign=True)
        with lib.no_grad():
            state["0.bias"].fill_(3.0)
        log = [list(state), target[1].count, target[0].bias.tolist()]
        log += [type(target[0].bias).__name__, target[0].bias.requires_grad]
        del state["1._extra_state"]
        log.append(message(target.load_state_dict, state))
        log.append(message(nn.Module().get_extra_state).split(".")[0])
        return log

    both(scenario)


def test_batch_norm_loads_states_from_before_the_batch_count():
    m = nn.BatchNorm1d(2)
    state = OrderedDict((k, v) for k, v in m.state_dict().items() if "num_batches" not in k)
    assert str(m.load_state_dict(state)) == "<All keys matched successfully>"


# ---- hooks


def test_forward_hooks_order_and_replacement():
    def scenario(lib, nn):
        log = []
        m = nn.Identity()

        def note(name, value=None):
            def hook(module, *args):
                log.append((name, len(args)))
                return value

            return hook

        m.register_forward_pre_hook(lambda module, args: (args[0] + 1,))
        m.register_forward_pre_hook(note("pre first"), prepend=True)
        m.register_forward_pre_hook(note("pre kwargs"), with_kwargs=True)
        m.register_forward_hook(lambda module, args, result: result * 10)
        m.register_forward_hook(note("after"))
        handle = m.register_forward_hook(note("after kwargs"), with_kwargs=True, prepend=True)
        log.append(m(lib.ones(1)).tolist())
        handle.remove()
        handle.remove()
        log.append(m(lib.ones(1)).tolist())
        return log

    both(scenario, [
        ("pre first", 1), ("pre kwargs", 2), ("after kwargs", 3), ("after", 2), [20.0],
        ("pre first", 1), ("pre kwargs", 2), ("after", 2), [20.0],
    ])


def test_always_call_hook_runs_after_an_error():
    def scenario(lib, nn):
        class Broken(nn.Module):
            def forward(self, x):
                raise ValueError("broken")

        log = []
        m = Broken()
        m.register_forward_hook(lambda *a: log.append("usual"))
        m.register_forward_hook(lambda *a: log.append(a[-1]), always_call=True)
        log.append(message(m, 1))
        return log

    both(scenario, [None, "ValueError: broken"])


def test_full_backward_hooks_see_and_replace_gradients():
    def scenario(lib, nn):
        log = []
        m = nn.Sequential(nn.Linear(2, 1), nn.ReLU())
        with lib.no_grad():
            m[0].weight.copy_(lib.tensor([[2.0, 3.0]]))
            m[0].bias.fill_(1.0)

        def grads(values):
            return [None if v is None else v.tolist() for v in values]

        m[0].register_full_backward_hook(
            lambda module, gi, go: log.append(("full", grads(gi), grads(go))))
        m[0].register_full_backward_hook(
            lambda module, gi, go: None if gi[0] is None else (gi[0] * 100,))
        m[0].register_full_backward_pre_hook(lambda module, go: (go[0] * 10,))
        x = lib.ones(1, 2, requires_grad=True)
        m(x).sum().backward()
        log.append(x.grad.tolist())
        log.append(m[0].weight.grad.tolist())
        m(lib.ones(1, 2)).sum().backward()  # no gradient for the input
        log.append(message(m[0].register_backward_hook, print))
        return log

    both(scenario)
    got = []
    layer = nn.Linear(1, 1)
    layer.register_full_backward_hook(lambda module, gi, go: got.append(go[0].tolist()))
    layer(suiren.ones(1, 1, requires_grad=True)).sum().backward()
    assert got == [[[1.0]]]


def test_state_and_load_hooks():
    def scenario(lib, nn):
        log = []
        m = nn.Linear(2, 1)
        m.register_state_dict_pre_hook(lambda module, prefix, keep: log.append(prefix))

        def post(module, state, prefix, metadata):
            state[prefix + "more"] = 1

        m.register_state_dict_post_hook(post)
        state = nn.Sequential(m).state_dict()
        log.append(list(state))

        def before(module, state, prefix, *rest):
            log.append((type(module).__name__, prefix))
            state.pop(prefix + "more", None)

        m.register_load_state_dict_pre_hook(before)
        m.register_load_state_dict_post_hook(
            lambda module, keys: log.append((list(keys.missing_keys),)))
        nn.Sequential(m).load_state_dict(state)
        return log

    both(scenario)


def test_global_hooks():
    def scenario(lib, nn):
        from importlib import import_module

        hooks = import_module(nn.__name__ + ".modules.module")
        log = []
        handles = [
            hooks.register_module_forward_pre_hook(lambda m, a: log.append("pre")),
            hooks.register_module_forward_hook(lambda m, a, r: log.append(type(m).__name__)),
            hooks.register_module_full_backward_hook(lambda m, gi, go: log.append("backward")),
            hooks.register_module_parameter_registration_hook(
                lambda m, name, p: log.append(name)),
        ]
        layer = nn.Linear(1, 1)
        layer(lib.ones(1, 1, requires_grad=True)).sum().backward()
        for handle in handles:
            handle.remove()
        layer(lib.ones(1, 1))
        return log

    both(scenario)


# ---- repr, copies


REPRS = {
    "nn.Sequential(nn.Conv2d(1, 2, 3, padding=1, bias=False), nn.BatchNorm2d(2), nn.ReLU(True))":
        "Sequential(\n  (0): Conv2d(1, 2, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), "
        "bias=False)\n  (1): BatchNorm2d(2, eps=1e-05, momentum=0.1, affine=True, bias=True, "
        "track_running_stats=True)\n  (2): ReLU(inplace=True)\n)",
    "nn.ModuleList([nn.Linear(1, 2) for _ in range(3)] + [nn.ReLU()])":
        "ModuleList(\n  (0-2): 3 x Linear(in_features=1, out_features=2, bias=True)\n"
        "  (3): ReLU()\n)",
    "nn.ModuleList([nn.Sequential(nn.ReLU()), nn.Sequential(nn.ReLU())])":
        "ModuleList(\n  (0-1): 2 x Sequential(\n    (0): ReLU()\n  )\n)",
    "nn.LSTM(2, 3, 2, bidirectional=True)": "LSTM(2, 3, num_layers=2, bidirectional=True)",
    "nn.LayerNorm(3)": "LayerNorm((3,), eps=1e-05, elementwise_affine=True, bias=True)",
    "nn.Module()": "Module()",
    "nn.ModuleDict({'a': nn.Tanh()})": "ModuleDict(\n  (a): Tanh()\n)",
    "nn.Embedding(3, 4, padding_idx=-1)": "Embedding(3, 4, padding_idx=2)",
    "nn.MaxPool2d(2)":
        "MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)",
    "nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), 2)": None,
    "nn.MultiheadAttention(4, 2, kdim=3)": None,
    "nn.ParameterList([lib.ones(2, 3), 5])": None,
    "nn.ParameterDict({'a': lib.ones(2, 3), 'b': 'x', 'c': nn.Linear(1, 1)})": None,
    "nn.Sequential(nn.ModuleList(), nn.Sequential())": None,
    "nn.AdaptiveLogSoftmaxWithLoss(6, 12, [3, 7], div_value=2)": None,
}


@pytest.mark.parametrize("text", REPRS)
def test_repr(text):
    both(lambda lib, nn: repr(eval(text, {"lib": lib, "nn": nn})), REPRS[text])


def test_signatures_and_defaults_are_torchs():
    torch = pytest.importorskip("torch")
    for name in dir(torch.nn):
        theirs = getattr(torch.nn, name)
        if not isinstance(theirs, type) or name in ("Container", "SyncBatchNorm"):
            continue

        def parameters(kind):
            found = inspect.signature(kind).parameters.values()
            return [(p.name, p.kind, p.default) for p in found if not callable(p.default)
                    or p.default is inspect.Parameter.empty]

        ours = getattr(nn, name)
        if issubclass(theirs, torch.nn.Transformer) or name.startswith("Transformer"):
            continue  # the default activation is a function there, its name here
        want, got = parameters(theirs), parameters(ours)
        if [k for _, k, _ in want] == [
                inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD]:
            continue  # PyTorch takes anything here
        assert got == want, name


def test_deepcopy_and_pickle():
    m = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    m[0].weight.note = "kept"
    twin = copy.deepcopy(m)
    assert twin[0].weight is not m[0].weight
    assert isinstance(twin[0].weight, nn.Parameter)
    assert twin[0].weight.requires_grad
    assert bool((twin[0].weight == m[0].weight).all())
    with suiren.no_grad():
        twin[0].weight.fill_(0.0)
    assert float(m[0].weight.detach().abs().sum()) > 0
    again = pickle.loads(pickle.dumps(m))
    assert repr(again) == repr(m)
    assert type(again[0].weight) is nn.Parameter
    assert again[0].weight.tolist() == m[0].weight.tolist()
    shared = nn.ModuleList([m[0], m[0]])
    twins = copy.deepcopy(shared)
    assert twins[0] is twins[1]


def test_parameter_repr_and_rules():
    p = nn.Parameter(suiren.tensor([1.0, 2.0]))
    assert repr(p) == "Parameter containing:\ntensor([1., 2.], requires_grad=True)"
    assert p.is_leaf and not isinstance(p * 2, nn.Parameter)
    assert not nn.Parameter(suiren.tensor([1]), requires_grad=False).requires_grad
    with pytest.raises(TypeError):
        nn.Parameter([1.0])


def test_dir_lists_parameters_but_no_numbers():
    names = dir(nn.Sequential(nn.Linear(1, 1)))
    assert "forward" in names and "0" not in names
    assert "weight" in dir(nn.Linear(1, 1))


# ---- containers


def test_sequential_is_a_list():
    def scenario(lib, nn):
        a, b, c = nn.ReLU(), nn.Tanh(), nn.Sigmoid()
        s = nn.Sequential(a, b)
        s.append(c)
        s.insert(1, nn.GELU())
        log = [[type(m).__name__ for m in s], list(s._modules), s[-1] is c]
        log.append([list(s[1:]._modules), len(s[::2])])
        del s[1]
        log.append([list(s._modules), s.pop(0) is a, len(s)])
        t = nn.Sequential(a) + nn.Sequential(b)
        t += nn.Sequential(c)
        t *= 2
        log.append([type(m).__name__ for m in t * 1])
        t.extend([a])
        t[0] = c
        log.append([t[0] is c, len(t), [type(m).__name__ for m in 2 * nn.Sequential(a)]])
        named = nn.Sequential(OrderedDict([("x", a), ("y", b)]))
        log.append([list(named._modules), named.x is a, list(named[:1]._modules)])
        log += [message(lambda: s[9]), message(lambda: t * 0), message(lambda: t + 3),
                message(s.insert, 9, a)]
        return [str(entry).replace(nn.__name__, "nn") for entry in log]

    both(scenario)


def test_module_list_and_dict():
    def scenario(lib, nn):
        m = nn.ModuleList([nn.ReLU(), nn.Tanh()])
        m += [nn.GELU()]
        m.insert(0, nn.SELU())
        log = [[type(x).__name__ for x in m], list(m._modules), type(m[1:]).__name__, len(m[1:])]
        del m[1:3]
        log.append([type(x).__name__ for x in m + [nn.ELU()]])
        m[0] = nn.Mish()
        log.append([type(m.pop(0)).__name__, len(m), message(lambda: m[5])])
        log.append([message(m.extend, 3), message(m, 3)])
        d = nn.ModuleDict([("a", nn.ReLU())])
        d.update({"b": nn.Tanh()})
        d["c"] = nn.ELU()
        log.append([list(d), len(d), "b" in d, type(d.pop("a")).__name__, list(d.keys())])
        del d["b"]
        log.append([[type(v).__name__ for v in d.values()], message(d.update, 3)])
        log.append([message(d.update, [3])[:40], message(d.update, [(1, 2, 3)])])
        d.clear()
        log.append(len(d))
        return log

    both(scenario)


def test_parameter_containers():
    def scenario(lib, nn):
        p = nn.ParameterList([lib.ones(2), 5])
        p.append(lib.ones(3))
        p += [nn.Parameter(lib.ones(1))]
        p[0] = lib.zeros(2)
        log = [len(p), [type(x).__name__ for x in p], [n for n, _ in p.named_parameters()]]
        log += [len(p[1:]), list(p.state_dict()), message(p, 1), message(p.extend, 3)]
        d = nn.ParameterDict({"b": lib.ones(1), "a": lib.ones(2)})
        d["c"] = "text"
        log += [list(d), "c" in d, [n for n, _ in d.named_parameters()], d.get("z")]
        log += [d.popitem(), len(d), list(d | nn.ParameterDict({"q": lib.ones(1)}))]
        log += [list(reversed(d)), d.setdefault("n", 3), list(d.copy()), list(d.keys())]
        log += [list(d.fromkeys(["u", "v"], 1)), d.pop("n"), message(d, 1)]
        return log

    both(scenario)


# ---- parametrizations and other utilities


def test_register_parametrization():
    def scenario(lib, nn):
        parametrize = nn.utils.parametrize

        class Double(nn.Module):
            def forward(self, x):
                return 2 * x

            def right_inverse(self, x):
                return x / 2

        layer = nn.Linear(2, 2)
        weight = layer.weight
        values = weight.detach().clone()
        parametrize.register_parametrization(layer, "weight", Double())
        log = [type(layer).__name__, parametrize.is_parametrized(layer, "weight"), repr(layer)]
        log += [list(layer.state_dict()), bool((layer.weight == values).all())]
        log.append(layer.parametrizations.weight.original is weight)
        layer.weight = lib.ones(2, 2)
        log.append(layer.parametrizations.weight.original.tolist())
        layer(lib.ones(1, 2)).sum().backward()
        log.append(layer.parametrizations.weight.original.grad.tolist())
        parametrize.remove_parametrizations(layer, "weight")
        log += [type(layer).__name__, layer.weight.tolist(), type(layer.weight).__name__]
        log.append(message(parametrize.remove_parametrizations, layer, "weight").split(" ")[0])
        return log

    both(scenario)


@pytest.mark.parametrize("old", [False, True])
def test_weight_norm_and_spectral_norm(old, recwarn):
    def scenario(lib, nn):
        lib.manual_seed(0)
        utils = nn.utils if old else nn.utils.parametrizations
        x = lib.from_numpy(np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3))
        log = []
        for make in (utils.weight_norm, utils.spectral_norm):
            layer = make(nn.Linear(3, 4))
            out = layer(x)
            out.sum().backward()
            log.append(list(layer.state_dict()))
            log += [round(float(p.grad.abs().sum()), 4) for p in layer.parameters()]
            log.append([round(v, 4) for v in out.detach().flatten().tolist()])
        if old:
            log.append(list(nn.utils.remove_spectral_norm(layer).state_dict()))
        return log

    both(scenario)


def test_clip_gradients():
    def scenario(lib, nn):
        a, b = nn.Parameter(lib.zeros(2)), nn.Parameter(lib.zeros(1))
        a.grad, b.grad = lib.tensor([3.0, 0.0]), lib.tensor([4.0])
        log = [float(nn.utils.get_total_norm([a.grad, b.grad]))]
        log.append(float(nn.utils.clip_grad_norm_([a, b], 1.0)))
        log.append([round(v, 5) for v in a.grad.tolist() + b.grad.tolist()])
        log.append(float(nn.utils.clip_grad_norm_([a, b], 10.0, norm_type=float("inf"))))
        nn.utils.clip_grad_value_([a, b], 0.7)
        log.append([round(v, 5) for v in a.grad.tolist() + b.grad.tolist()])
        b.grad = lib.tensor([float("nan")])
        log.append(message(nn.utils.clip_grad_norm_, [a, b], 1.0, error_if_nonfinite=True)[:40])
        return [v if not isinstance(v, float) else round(v, 5) for v in log]

    both(scenario)


def test_parameters_to_vector_and_fusion():
    m = nn.Linear(2, 2)
    vector = nn.utils.parameters_to_vector(m.parameters())
    assert tuple(vector.shape) == (6,)
    nn.utils.vector_to_parameters(suiren.arange(6.0), m.parameters())
    assert m.weight.tolist() == [[0.0, 1.0], [2.0, 3.0]] and m.bias.tolist() == [4.0, 5.0]

    conv, norm = nn.Conv2d(2, 3, 2).eval(), nn.BatchNorm2d(3).eval()
    with suiren.no_grad():
        norm.running_mean.fill_(0.3)
        norm.running_var.fill_(2.0)
        norm.weight.fill_(1.5)
    x = suiren.arange(24.0).view(1, 2, 3, 4) / 24
    fused = nn.utils.fuse_conv_bn_eval(conv, norm)
    np.testing.assert_allclose(
        fused(x).detach().numpy(), norm(conv(x)).detach().numpy(), rtol=1e-5, atol=1e-6)


def test_functional_call_and_data_parallel():
    def scenario(lib, nn):
        from importlib import import_module

        call = import_module(nn.__name__ + ".utils.stateless").functional_call
        m = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1)).eval()
        before = m[0].weight
        log = [call(m[0], {"weight": lib.tensor([[3.0]]), "bias": lib.ones(1)},
                    lib.tensor([[2.0]])).tolist()]
        log += [m[0].weight is before, list(nn.DataParallel(m).state_dict())]
        wrapped = nn.DataParallel(m)
        log.append(bool((wrapped(lib.ones(1, 1)) == m(lib.ones(1, 1))).all()))
        return log

    both(scenario)


def test_pad_and_pack_sequences():
    def scenario(lib, nn):
        rnn = nn.utils.rnn
        a, b, c = lib.tensor([1, 2]), lib.tensor([3, 4, 5]), lib.tensor([6])
        log = [rnn.pad_sequence([a, b, c]).tolist()]
        log.append(rnn.pad_sequence([a, b], True, -1, "left").tolist())
        packed = rnn.pack_sequence([a, b, c], enforce_sorted=False)
        log += [packed.data.tolist(), packed.batch_sizes.tolist()]
        log += [packed.sorted_indices.tolist(), packed.unsorted_indices.tolist()]
        padded, lengths = rnn.pad_packed_sequence(packed, padding_value=9, total_length=4)
        log += [padded.tolist(), lengths.tolist()]
        log.append([x.tolist() for x in rnn.unpack_sequence(packed)])
        log.append(message(rnn.pack_sequence, [a, b])[:60])
        return log

    both(scenario, [
        [[1, 3, 6], [2, 4, 0], [0, 5, 0]],
        [[-1, 1, 2], [3, 4, 5]],
        [3, 1, 6, 4, 2, 5], [3, 2, 1], [1, 0, 2], [1, 0, 2],
        [[1, 3, 6], [2, 4, 9], [9, 5, 9], [9, 9, 9]], [2, 3, 1],
        [[1, 2], [3, 4, 5], [6]],
        "RuntimeError: `lengths` array must be sorted in decreasing order when"[:60],
    ])


def test_functional_covers_torchs():
    torch = pytest.importorskip("torch")
    import torch.nn.functional as theirs

    helpers = {
        "Callable", "DType", "Optional", "ScalingType", "SwizzleType", "Tensor",
        "assert_int_or_pair", "boolean_dispatch", "handle_torch_function", "has_torch_function",
        "has_torch_function_unary", "has_torch_function_variadic",
        "grouped_mm", "scaled_grouped_mm", "scaled_mm",  # need CUDA
    }
    assert torch is not None
    names = {n for n in dir(theirs) if n[0] != "_" and callable(getattr(theirs, n))} - helpers
    assert sorted(names - set(nn.functional.__all__)) == []
