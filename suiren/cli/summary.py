"""`suiren summary`: a model's layers with output sizes, parameters, multiply-adds and memory.

The model is called once with zeros, in evaluation mode and with gradients on: then nothing is
computed, since operations are only recorded and nobody looks. Models of suiren.vision are made on
the meta device and have no weights at all. Forward hooks note what each module gives back.
"""

import argparse
import ast
import importlib.util
import json
import math
import os
import sys
from typing import Any

import suiren as torch
from suiren import nn
from suiren.cli.errors import CommandError, first_line
from suiren.tensor import Tensor
from suiren.vision.models import get_model, list_models


def add_command(commands: Any) -> None:
    """Enter `summary` among the subcommands."""
    parser = commands.add_parser(
        "summary",
        help="list a model's layers: sizes, parameters, multiply-adds",
        description="List the layers of a model: output size, parameters, multiply-adds, memory.",
        epilog="examples:\n  suiren summary resnet18 --input 3,224,224\n"
        "  suiren summary net.py:Net --input 1,28,28 --batch-size 64\n"
        "  suiren summary gpt.py:GPT --arg vocabulary=65 --input 128 --dtype int64",
    )
    parser.add_argument(
        "model", metavar="MODEL", help="a model of suiren.vision, or FILE.py:NAME of a class, "
        "function or module in a file written for Suiren or PyTorch",
    )  # fmt: skip
    parser.add_argument(
        "--input", metavar="SIZES", action="append", required=True, type=_sizes,
        help="sizes of one input without the batch, such as 3,224,224; once for each input",
    )  # fmt: skip
    parser.add_argument("--batch-size", metavar="N", type=int, default=1, help="default 1")
    parser.add_argument("--dtype", default="float32", help="of the inputs, default float32")
    parser.add_argument(
        "--arg", metavar="NAME=VALUE", action="append", default=[], type=_argument,
        help="an argument for the model's builder, VALUE as in Python",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Do `suiren summary` and give the exit status."""
    kind = getattr(torch, arguments.dtype, None)
    if not isinstance(kind, torch.dtype):
        raise CommandError(f"argument --dtype: there is no dtype {arguments.dtype!r}")
    if arguments.batch_size < 1:
        raise CommandError(f"argument --batch-size: must be at least 1, got {arguments.batch_size}")
    model = _build(arguments.model, arguments.input[0], dict(arguments.arg))
    shapes = [(arguments.batch_size, *sizes) for sizes in arguments.input]
    report = describe(model, shapes, kind)
    if arguments.json:
        print(json.dumps({"model": arguments.model, **report}, indent=2))
    else:
        print(table(report))
    return 0


def _sizes(text: str) -> tuple[int, ...]:
    try:
        sizes = tuple(int(part) for part in text.replace("x", ",").split(",") if part)
    except ValueError:
        sizes = (0,)
    if any(size < 1 for size in sizes):
        raise argparse.ArgumentTypeError(f"must be sizes such as 3,224,224, got {text!r}")
    return sizes


def _argument(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not name.isidentifier() or not equals:
        raise argparse.ArgumentTypeError(f"must be NAME=VALUE, got {text!r}")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


# --------------------------------------------------------------------------
# The model


def _build(name: str, sizes: tuple[int, ...], config: dict[str, Any]) -> nn.Module:
    """The model that `name` stands for; CommandError if there is none or it cannot be made."""
    path, colon, attribute = name.rpartition(":")
    try:
        if colon and path.endswith(".py"):
            return _from_file(path, attribute, config)
        if name in ("cnn", "mlp") and len(sizes) == 3:
            config = {"channels": sizes[0], "image_size": sizes[1], "num_classes": 10, **config}
        if name not in list_models():
            raise CommandError(
                f"there is no model {name!r}; choose from {', '.join(list_models())}, or write "
                "FILE.py:NAME"
            )
        if config.get("weights") is not None:
            return get_model(name, **config)
        with torch.device("meta"):  # sizes are all that is asked for
            return get_model(name, **config)
    except (TypeError, ValueError) as error:
        raise CommandError(f"{name} cannot be made: {first_line(error)}") from error


def _from_file(path: str, name: str, config: dict[str, Any]) -> nn.Module:
    if not os.path.isfile(path):
        raise CommandError(f"cannot read {path}: No such file or directory")
    torch.install()  # the file may import torch
    sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
    spec = importlib.util.spec_from_file_location("_summarised", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise CommandError(
            f"{path} cannot be imported: {type(error).__name__}: {first_line(error)}"
        ) from error
    found = getattr(module, name, None)
    if isinstance(found, nn.Module):
        return found
    if not callable(found):
        raise CommandError(f"{path} has no class, function or module {name!r}")
    model = found(**config)
    if not isinstance(model, nn.Module):
        raise CommandError(f"{path}:{name} gives a {type(model).__name__}, not a module")
    return model


# --------------------------------------------------------------------------
# What it does


def describe(
    model: nn.Module, shapes: list[tuple[int, ...]], kind: Any = torch.float32
) -> dict[str, Any]:
    """The layers of `model` in the order in which they are called, and their totals.

    Raises:
        CommandError: the model does not take inputs of these shapes.
    """
    names = {id(module): name for name, module in model.named_modules()}
    layers: list[dict[str, Any]] = []
    counted: set[int] = set()  # parameters, each once

    def enter(module: nn.Module, inputs: Any) -> None:
        own = [p for p in module.parameters(recurse=False) if id(p) not in counted]
        counted.update(id(p) for p in own)
        layers.append({
            "name": names[id(module)], "type": type(module).__name__, "output": None,
            "parameters": sum(p.numel() for p in own), "multiply_adds": 0, "output_bytes": 0,
            "leaf": not any(True for _ in module.children()), "module": id(module),
        })  # fmt: skip

    def leave(module: nn.Module, inputs: Any, output: Any) -> None:
        open_rows = [row for row in layers if row["module"] == id(module)]
        row = next(row for row in reversed(open_rows) if row["output"] is None)
        row["output"] = _shape_of(output)
        row["multiply_adds"] = multiply_adds(module, inputs, output)
        row["output_bytes"] = _bytes_of(output) if row["leaf"] else 0

    handles = []
    for module in model.modules():
        handles.append(module.register_forward_pre_hook(enter))
        handles.append(module.register_forward_hook(leave))
    training = model.training
    model.eval()
    try:
        with torch.enable_grad():
            place = next((p.device for p in model.parameters()), torch.device("cpu"))
            model(*(torch.zeros(shape, dtype=kind, device=place) for shape in shapes))
    except (RuntimeError, ValueError, TypeError, IndexError, NotImplementedError) as error:
        shown = ", ".join("x".join(map(str, shape)) for shape in shapes)
        raise CommandError(
            f"{type(model).__name__} does not take an input of {shown}: {first_line(error)}"
        ) from error
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    parameters = sum(p.numel() for p in model.parameters())
    totals = {
        "parameters": parameters,
        "trainable": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "multiply_adds": sum(row["multiply_adds"] for row in layers),
        "parameter_bytes": sum(p.numel() * p.element_size() for p in model.parameters()),
        "output_bytes": sum(row["output_bytes"] for row in layers),
    }
    rows = [{k: v for k, v in row.items() if k not in ("leaf", "module")} for row in layers]
    return {"input": [list(shape) for shape in shapes], "layers": rows, "totals": totals}


def multiply_adds(module: nn.Module, inputs: Any, output: Any) -> int:
    """Products that are summed in one call of a layer; 0 for modules that only call others."""
    first = inputs[0] if inputs and isinstance(inputs[0], Tensor) else None
    out = output[0] if isinstance(output, tuple) else output
    if isinstance(module, nn.Linear):
        return out.numel() * module.in_features
    if isinstance(module, nn.Bilinear):
        return out.numel() * (module.in1_features * module.in2_features + module.in1_features)
    kernel = getattr(module, "kernel_size", None)
    if hasattr(module, "transposed") and kernel is not None and first is not None:
        ends = module.out_channels if module.transposed else module.in_channels
        each = ends // module.groups * math.prod(kernel)  # type: ignore[operator]
        return (first if module.transposed else out).numel() * each
    if isinstance(module, nn.MultiheadAttention) and first is not None:
        queries, keys = first.numel() // first.shape[-1], inputs[1].numel() // inputs[1].shape[-1]
        width = module.embed_dim
        time = first.shape[-2] if module.batch_first or first.dim() == 2 else first.shape[0]
        keys_each = keys // (queries // time)
        return 2 * (queries + keys) * width * width + 2 * queries * keys_each * width
    if isinstance(module, nn.RNNBase) and first is not None:
        steps = first.numel() // first.shape[-1]
        weights = sum(p.numel() for n, p in module.named_parameters() if "weight" in n)
        return steps * weights
    if isinstance(module, nn.RNNCellBase) and first is not None:
        weights = sum(p.numel() for n, p in module.named_parameters() if "weight" in n)
        return (first.numel() // first.shape[-1]) * weights
    return 0


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [t for item in value for t in _tensors(item)] if isinstance(value, (list, tuple)) else []


def _shape_of(output: Any) -> list[Any]:
    shapes = [list(tensor.shape) for tensor in _tensors(output)]
    return shapes[0] if len(shapes) == 1 else shapes


def _bytes_of(output: Any) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in _tensors(output))


# --------------------------------------------------------------------------
# As text


def table(report: dict[str, Any]) -> str:
    """The report in columns; deeper layers are indented."""
    rows = [("layer", "output", "parameters", "multiply-adds")]
    for layer in report["layers"]:
        path = layer["name"].split(".") if layer["name"] else []
        label = f"{'  ' * len(path)}{path[-1] + ' ' if path else ''}{layer['type']}"
        output = layer["output"] or []
        first = output[0] if output and isinstance(output[0], list) else output
        rows.append((
            label, "x".join(str(size) for size in first),
            f"{layer['parameters']:,}" if layer["parameters"] else "",
            f"{layer['multiply_adds']:,}" if layer["multiply_adds"] else "",
        ))  # fmt: skip
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [
        f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}  {d:>{widths[3]}}".rstrip()
        for a, b, c, d in rows
    ]
    lines.insert(1, "-" * (sum(widths) + 6))
    totals = report["totals"]
    lines += [
        "-" * (sum(widths) + 6),
        f"parameters     {totals['parameters']:,} ({totals['trainable']:,} trainable), "
        f"{_size(totals['parameter_bytes'])}",
        f"multiply-adds  {totals['multiply_adds']:,}",
        f"outputs        {_size(totals['output_bytes'])} of all layers together",
    ]
    return "\n".join(lines)


def _size(count: int) -> str:
    value, units = float(count), ["bytes", "KiB", "MiB", "GiB", "TiB"]
    while value >= 1024 and len(units) > 1:
        value /= 1024
        units.pop(0)
    return f"{count} bytes" if units[0] == "bytes" else f"{value:.1f} {units[0]}"


