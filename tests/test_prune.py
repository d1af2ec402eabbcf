"""nn.utils.prune and parametrizations.orthogonal, beside PyTorch and by recorded numbers."""

from __future__ import annotations

import pytest

import suiren


def scene(torch, act):
    """What a story printed, as nested lists."""
    torch.manual_seed(3)
    log: list = []

    def note(*things):
        for thing in things:
            if hasattr(thing, "detach"):
                thing = [round(x, 4) + 0.0 for x in thing.detach().flatten().tolist()]
            log.append(thing)

    def refused(function, *arguments, **named):
        try:
            function(*arguments, **named)
        except Exception as problem:
            log.append((type(problem).__name__, str(problem)))
        else:
            log.append("accepted")

    act(torch, note, refused)
    return log


def methods(torch, note, refused):
    from importlib import import_module

    prune = import_module(torch.__name__ + ".nn.utils.prune")
    nn = torch.nn
    layer = nn.Linear(4, 3)
    note(prune.is_pruned(layer))
    prune.random_unstructured(layer, "weight", amount=0.3)
    note(layer.weight, layer.weight_mask, list(layer.state_dict()), prune.is_pruned(layer))
    prune.l1_unstructured(layer, "bias", amount=1)
    prune.ln_structured(layer, "weight", amount=1, n=2, dim=0)
    note(layer.weight, layer.weight_mask)
    prune.random_structured(layer, "weight", amount=0.5, dim=1)
    note(layer.weight_mask, len(list(layer._forward_pre_hooks.values())[1]))
    prune.l1_unstructured(layer, "weight", amount=1)
    note(layer.weight_mask)
    layer(torch.ones(2, 4)).sum().backward()
    note(layer.weight_orig.grad, layer(torch.ones(1, 4)))
    prune.remove(layer, "weight")
    note(layer.weight, [name for name, _ in layer.named_parameters()], prune.is_pruned(layer))
    refused(prune.remove, layer, "weight")
    conv = nn.Conv2d(2, 4, 3)
    for p, dim in ((1, 0), (float("inf"), -1), (2, 1)):
        prune.ln_structured(conv, "weight", amount=1, n=p, dim=dim)
        note(conv.weight_mask)
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    pairs = ((net[0], "weight"), (net[1], "weight"))
    for amount in (0.4, 3):
        prune.global_unstructured(pairs, prune.L1Unstructured, amount=amount)
        note(net[0].weight_mask, net[1].weight_mask)
    prune.custom_from_mask(net[0], "bias", torch.tensor([1, 0, 1, 0]))
    note(net[0].bias, net[0].bias_mask)
    prune.identity(net[1], "bias")
    note(net[1].bias_mask, net(torch.ones(4)))
    method = prune.L1Unstructured(1)
    note(method.prune(torch.tensor([[3.0, -1.0, 2.0]])))
    scores, mask = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[0.0, 1.0, 1.0]])
    note(method.prune(torch.tensor([[3.0, -1.0, 2.0]]), mask, scores))

    class Every(prune.BasePruningMethod):
        PRUNING_TYPE = "unstructured"

        def compute_mask(self, t, default_mask):
            mask = default_mask.clone()
            mask.view(-1)[::2] = 0
            return mask

    Every.apply(net[1], "bias")
    note(net[1].bias_mask)


def refusals(torch, note, refused):
    from importlib import import_module

    prune = import_module(torch.__name__ + ".nn.utils.prune")
    layer = torch.nn.Linear(4, 3)
    refused(prune.random_unstructured, layer, "weight", "a")
    refused(prune.random_unstructured, layer, "weight", -1)
    refused(prune.random_unstructured, layer, "weight", 1.5)
    refused(prune.random_unstructured, layer, "weight", 100)
    refused(prune.ln_structured, layer, "bias", 1, 2, 0)
    refused(prune.ln_structured, layer, "weight", 1, 2, 5)
    refused(prune.random_structured, layer, "weight", 7, 0)
    refused(prune.l1_unstructured, layer, "weight", 1, importance_scores=torch.ones(2))
    note([name for name, _ in layer.named_parameters()], len(layer._forward_pre_hooks))
    refused(prune.global_unstructured, layer, prune.L1Unstructured, amount=1)
    refused(
        prune.global_unstructured, [(layer, "weight")], prune.L1Unstructured, 3, amount=1)
    a, b = prune.L1Unstructured(1), prune.L1Unstructured(1)
    a._tensor_name, b._tensor_name = "weight", "bias"
    container = prune.PruningContainer(a)
    note(len(container), container[0] is a, list(container) == [a])
    refused(container.add_pruning_method, 3)


def orthogonals(torch, note, refused):
    orthogonal = torch.nn.utils.parametrizations.orthogonal
    for way in ("matrix_exp", "cayley", "householder", None):
        for shape in ((3, 3), (3, 5), (5, 3)):
            for based in (True, False):
                layer = torch.nn.Linear(*shape)
                orthogonal(layer, orthogonal_map=way, use_trivialization=based)
                note(list(layer.state_dict()), layer.weight)
                with torch.no_grad():
                    original = layer.parametrizations.weight.original
                    original += torch.linspace(-1, 1, 15)[: original.numel()].view_as(original)
                note(layer.weight)
                layer(torch.arange(float(shape[0]))).square().sum().backward()
                note(original.grad)
    layer = orthogonal(torch.nn.Linear(3, 3))
    # of full rank: of another, rounding decides the signs
    wanted = torch.arange(9.0).square().cos().view(3, 3)
    layer.weight = wanted
    note(layer.weight, repr(layer))

    def wrong():
        layer.weight = torch.ones(2, 2)

    refused(wrong)
    refused(orthogonal, layer, "bias")
    refused(orthogonal, layer, "nothing")
    refused(orthogonal, torch.nn.Linear(3, 3), orthogonal_map="x")
    square = orthogonal(torch.nn.Linear(3, 3), orthogonal_map="cayley", use_trivialization=False)
    try:
        square.weight = wanted
    except NotImplementedError:
        note("no right inverse")


@pytest.mark.parametrize("act", [methods, refusals, orthogonals])
def test_beside_torch(act):
    torch = pytest.importorskip("torch")
    ours, theirs = scene(suiren, act), scene(torch, act)
    assert len(ours) == len(theirs)
    for place, (mine, real) in enumerate(zip(ours, theirs, strict=True)):
        if isinstance(real, list) and real and isinstance(real[0], float):
            assert mine == pytest.approx(real, rel=1e-3, abs=1e-3), place
        else:
            assert mine == real, place


def test_recorded_numbers():
    from suiren.nn.utils import prune

    layer = suiren.nn.Linear(3, 2, bias=False)
    with suiren.no_grad():
        layer.weight.copy_(suiren.tensor([[3.0, -1.0, 2.0], [0.5, -4.0, 0.25]]))
    prune.l1_unstructured(layer, "weight", amount=2)
    assert layer.weight.tolist() == [[3, -1, 2], [0, -4, 0]]
    prune.ln_structured(layer, "weight", amount=0.5, n=2, dim=0)
    assert layer.weight.tolist() == [[0, 0, 0], [0, -4, 0]]  # 14 against 16
    prune.remove(layer, "weight")
    assert [name for name, _ in layer.named_parameters()] == ["weight"]


def test_orthogonal_stays_orthogonal_in_training():
    suiren.manual_seed(0)
    layer = suiren.nn.utils.parametrizations.orthogonal(suiren.nn.Linear(4, 4, bias=False))
    optimizer = suiren.optim.SGD(layer.parameters(), lr=0.1)
    goal = suiren.linalg.qr(suiren.randn(4, 4)).Q
    losses = []
    for _ in range(40):
        loss = (layer.weight - goal).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert suiren.dist(layer.weight @ layer.weight.T, suiren.eye(4)) < 1e-5
    assert losses[-1] < losses[0]


def test_a_failed_pruning_leaves_the_module_alone():
    from suiren.nn.utils import prune

    layer = suiren.nn.Linear(4, 3)
    with pytest.raises(ValueError, match="should be smaller"):
        prune.l1_unstructured(layer, "weight", amount=100)
    assert sorted(layer.state_dict()) == ["bias", "weight"]
    assert not prune.is_pruned(layer)


def test_a_second_parametrization_leaves_the_original_alone():
    from suiren.nn.utils import parametrize

    class Doubled(suiren.nn.Module):
        def forward(self, x):
            return 2 * x

    class Shifted(suiren.nn.Module):
        def forward(self, x):
            return x + 1

        def right_inverse(self, x):
            return x - 1

    class Twice(Shifted):
        def right_inverse(self, x):
            return x, x

    layer = suiren.nn.Linear(2, 1, bias=False)
    with suiren.no_grad():
        layer.weight.fill_(3)
    parametrize.register_parametrization(layer, "weight", Doubled())  # has no inverse
    parametrize.register_parametrization(layer, "weight", Shifted())
    assert layer.weight.tolist() == [[7, 7]]
    assert layer.parametrizations.weight.original.tolist() == [[3, 3]]
    with pytest.raises(ValueError, match="must return a tensor. Got: tuple"):
        parametrize.register_parametrization(layer, "weight", Twice())
    with pytest.raises(RuntimeError, match="Doubled does not implement right_inverse"):
        layer.weight = suiren.ones(1, 2)
