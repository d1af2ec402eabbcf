"""`suiren run`: a script written for PyTorch, run unchanged on Suiren.

The hook of `suiren.imports` is installed, and the script is run as Python would run it: it is
`__main__`, its folder is `sys.path[0]`, what follows its name is its `sys.argv`. How it ends, an
exit status, an uncaught exception, Ctrl-C, is left to Python itself; only our own frames are taken
out of the traceback. So this command does not go through the error handling of the others.
"""

import argparse
import builtins
import importlib.machinery
import importlib.util
import io
import os
import sys
from collections.abc import Sequence
from types import CodeType, ModuleType, TracebackType
from typing import Any

from suiren.cli.errors import CommandError, first_line

USAGE = """usage: suiren run SCRIPT [ARGUMENT ...]
       suiren run -m MODULE [ARGUMENT ...]
       suiren run -c CODE [ARGUMENT ...]
       suiren run - [ARGUMENT ...]         the program is read from standard input

Run a Python program written for PyTorch: in it, and in its child processes, `import torch` and
`import torchvision` give Suiren. SCRIPT may be a folder or a zip file with a __main__.py.
Everything after the program belongs to the program."""


def add_command(commands: Any) -> None:
    """Enter `run` among the subcommands, for the list in the help; see :func:`main`."""
    parser = commands.add_parser(
        "run", help="run a PyTorch script unchanged on Suiren", add_help=False
    )
    parser.add_argument("rest", nargs=argparse.REMAINDER)
    parser.set_defaults(run=lambda options: main(options.rest))


def main(arguments: Sequence[str]) -> int:
    """Run the program that `arguments` name and give 0; what the program raises comes out.

    CommandError: no program, or one that cannot be read.
    """
    if not arguments or arguments[0] in ("-h", "--help"):
        if not arguments:
            raise CommandError("no script given (see suiren run --help)")
        print(USAGE)
        return 0
    first, *rest = arguments
    if first in ("-m", "-c") and not rest:
        raise CommandError(f"{first} needs a value (see suiren run --help)")
    if first.startswith("-") and first not in ("-m", "-c", "-"):
        raise CommandError(f"there is no option {first} (see suiren run --help)")

    from suiren import imports

    imports.install()
    try:
        if first == "-m":
            code, module = _from_module(rest)
        elif first == "-c":
            code, module = _from_text(rest[0], "<string>", ["-c", *rest[1:]])
        elif first == "-":
            code, module = _from_text(sys.stdin.read(), "<stdin>", ["-", *rest])
        else:
            code, module = _from_path(first, rest)
        sys.modules["__main__"] = module
        exec(code, vars(module))
    except (CommandError, SystemExit):
        raise
    except BaseException:
        _show_without_our_frames()
        raise
    return 0


def _new_main(**names: Any) -> ModuleType:
    module = ModuleType("__main__")
    module.__dict__.update(__builtins__=builtins, __spec__=None, __package__=None, **names)
    return module


def _set_first_path(folder: str) -> None:
    """Where Python itself looks first: in place of the folder of the command `suiren`."""
    if getattr(sys.flags, "safe_path", False):
        sys.path.insert(0, folder)
    else:
        sys.path[0] = folder


def _from_text(text: str, name: str, argv: list[str]) -> tuple[CodeType, ModuleType]:
    sys.argv[:] = argv
    _set_first_path("")
    code = compile(text, name, "exec", dont_inherit=True)
    return code, _new_main()


def _from_path(path: str, rest: list[str]) -> tuple[CodeType, ModuleType]:
    """A file, or a folder or zip file with a __main__.py."""
    import pkgutil

    sys.argv[:] = [path, *rest]
    finder = None if os.path.isfile(path) and path.endswith(".py") else pkgutil.get_importer(path)
    if finder is not None and (os.path.isdir(path) or not _is_file_finder(finder)):
        _set_first_path(path)
        spec = finder.find_spec("__main__")
        if spec is None or spec.loader is None:
            raise CommandError(f"{path}: there is no __main__.py in it")
        return _from_spec(spec)
    try:
        path = os.path.abspath(path)  # as Python has it in __file__ and in tracebacks
        with io.open_code(path) as stream:
            source = stream.read()
    except OSError as error:
        raise CommandError(f"cannot read {path}: {first_line(error)}") from None
    _set_first_path(os.path.dirname(os.path.realpath(path)))
    loader = importlib.machinery.SourceFileLoader("__main__", path)
    code = compile(source, path, "exec", dont_inherit=True)
    return code, _new_main(__file__=path, __loader__=loader, __cached__=None)


def _is_file_finder(finder: Any) -> bool:
    return isinstance(finder, importlib.machinery.FileFinder)


def _from_module(arguments: list[str]) -> tuple[CodeType, ModuleType]:
    name, *rest = arguments
    _set_first_path(os.getcwd())
    sys.argv[:] = ["-m", *rest]  # as Python has it while the module's packages are imported
    spec = _spec_of(name)
    if spec.submodule_search_locations is not None:
        spec = _spec_of(f"{name}.__main__")
    code, module = _from_spec(spec)
    sys.argv[0] = module.__file__ or name
    return code, module


def _spec_of(name: str) -> importlib.machinery.ModuleSpec:
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # it is there, and something that it imports is not
        spec = None
    if spec is None:
        raise CommandError(f"no module named {name}")
    return spec


def _from_spec(spec: importlib.machinery.ModuleSpec) -> tuple[CodeType, ModuleType]:
    loader: Any = spec.loader
    code = loader.get_code(spec.name) if hasattr(loader, "get_code") else None
    if code is None:
        raise CommandError(f"{spec.name} is no module that can be run")
    module = _new_main(__file__=spec.origin, __loader__=loader, __cached__=spec.cached)
    module.__spec__ = spec
    module.__package__ = spec.parent
    return code, module


def _show_without_our_frames() -> None:
    """Lets the uncaught exception that is on its way out show its traceback from the script on."""
    shown = sys.excepthook  # the script may have set one of its own

    def hook(
        kind: type[BaseException], error: BaseException, traceback: TracebackType | None
    ) -> None:
        shown(kind, error, _without_our_frames(error, traceback))

    sys.excepthook = hook


def _without_our_frames(
    error: BaseException, traceback: TracebackType | None
) -> TracebackType | None:
    """`traceback` without the frames before the script and, of an import, those of the hook."""
    from suiren import imports

    frames = []
    while traceback is not None:
        frames.append(traceback)
        traceback = traceback.tb_next
    files = [frame.tb_frame.f_code.co_filename for frame in frames]
    # This file is the last of ours: what it calls is the script (or the compiler of a bad one).
    start = max((i + 1 for i, file in enumerate(files) if file == __file__), default=0)
    end = len(frames)
    if isinstance(error, ImportError):
        imports.explain(error)
        while end > start and (
            files[end - 1] == imports.__file__ or files[end - 1].startswith("<frozen importlib")
        ):
            end -= 1
    result: TracebackType | None = None
    for frame in reversed(frames[start:end]):
        result = TracebackType(result, frame.tb_frame, frame.tb_lasti, frame.tb_lineno)
    error.__traceback__ = result
    return result
