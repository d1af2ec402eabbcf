"""The command line: subcommands, and the rules that hold for all of them.

Exit status: 0 done, 2 bad input or a failed write (one line on stderr, never a traceback),
130 interrupted, 141 the reader of the output went away (as the shell shows for SIGPIPE).
"""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

from suiren.cli.errors import EXIT_INTERRUPTED, CommandError, first_line
from suiren.version import __version__

# Each is a module here with `add_command`; they are imported when the arguments are read.
COMMANDS = ("train", "predict", "run", "summary", "bench", "info")
EXIT_ERROR = 2
EXIT_BROKEN_PIPE = 141


class _Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are one line and end in CommandError."""

    def __init__(self, **settings: Any) -> None:
        settings.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        raise CommandError(f"{message} (see {self.prog} --help)")


def build_parser() -> argparse.ArgumentParser:
    """The parser of `suiren` with one subparser for each subcommand."""
    parser = _Parser(
        prog="suiren",
        description="Train an image classifier, use it, run PyTorch scripts, look at models.",
    )
    parser.add_argument("--version", action="version", version=f"suiren {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)
    for name in COMMANDS:
        import_module(f"suiren.cli.{name}").add_command(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (without the program's name) and give its exit status.

    What a script under `suiren run` raises is not caught: Python shows it and chooses the status.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["run"]:
        return _run_script(arguments[1:])
    _print_any_file_name()
    prog = "suiren"
    try:
        if arguments and arguments[0] in COMMANDS:
            prog = f"suiren {arguments[0]}"
        status = _run(arguments)
        if sys.stdout is not None:
            sys.stdout.flush()
        return status
    except CommandError as error:
        _complain(prog, str(error))
        return EXIT_ERROR
    except KeyboardInterrupt:
        _complain(prog, "interrupted", kind="")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _abandon_stdout()
        return EXIT_BROKEN_PIPE
    except OSError as error:
        # Files are read and written behind CommandError; what is left is mostly the output itself.
        _abandon_stdout()
        subject = f"{error.filename}: " if error.filename else "cannot write the output: "
        _complain(prog, f"{subject}{first_line(error)}")
        return EXIT_ERROR
    except MemoryError:
        _complain(prog, "out of memory; try a smaller --image-size or --batch-size")
        return EXIT_ERROR


def _run_script(arguments: list[str]) -> int:
    from suiren.cli import run

    try:
        return run.main(arguments)
    except CommandError as error:
        _complain("suiren run", str(error))
        return EXIT_ERROR


def _run(arguments: list[str]) -> int:
    parser = build_parser()
    try:
        options = parser.parse_args(arguments)
    except SystemExit as stop:  # --help and --version
        return int(stop.code or 0)
    if options.command is None:
        names = f"{', '.join(COMMANDS[:-1])} or {COMMANDS[-1]}"
        raise CommandError(f"no command given: use {names} (see suiren --help)")
    return options.run(options)


def _print_any_file_name() -> None:
    """File names may hold bytes that the terminal's encoding lacks: show them escaped."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _complain(prog: str, message: str, kind: str = "error: ") -> None:
    """Print one line on stderr; a stderr that is gone is nothing to fail about."""
    message = " ".join(message.split("\n"))
    try:
        print(f"{prog}: {kind}{message}", file=sys.stderr, flush=True)
    except (OSError, ValueError):
        pass


def _abandon_stdout() -> None:
    """Send what stdout still holds nowhere, so that closing it at exit cannot fail again."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    except (OSError, ValueError, AttributeError):
        pass
