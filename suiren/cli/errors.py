"""The one exception that means "the user should read this line": shown as is, exit status 2."""

EXIT_INTERRUPTED = 130  # what a shell shows for a command that SIGINT ended


class CommandError(Exception):
    """Bad input or a failed write; the text is one line that says what, why and what to do."""


def first_line(error: BaseException) -> str:
    """What `error` says, cut to one line, for use inside a CommandError."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
