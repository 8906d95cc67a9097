"""One call of the command line: from arguments to an exit code, whatever happens on the way."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Sequence
from contextlib import suppress

import click

from edgestill.cli.group import Settings, group
from edgestill.cli.output import in_github
from edgestill.errors import EdgestillError, ExitCode, RecipeError
from edgestill.report.annotation import Annotation

INTERRUPTED = 130  # 128 + SIGINT, as shells have it
PIPE_CLOSED = 141  # 128 + SIGPIPE
_PROGRAM = "edgestill"
_COMPLETION = "_EDGESTILL_COMPLETE"


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        arguments: what follows the program's name; by default those of this process.
    """
    settings = Settings()
    try:
        code = _invoke(list(sys.argv[1:] if arguments is None else arguments), settings)
    except BaseException as error:
        if isinstance(error, (SystemExit, GeneratorExit)):
            raise
        if settings.debug:
            import traceback

            _tell("".join(traceback.format_exception(error)).rstrip())
        text, code = explain(error)
        if text:
            _tell(text)
            if in_github():
                _tell(str(Annotation("error", _PROGRAM, text)))
    return _finished(code)


def _invoke(arguments: list[str], settings: Settings) -> int:
    if _COMPLETION in os.environ:
        group.main(arguments, prog_name=_PROGRAM, complete_var=_COMPLETION, obj=settings)
    # Not `group.main`: that turns a closed pipe into exit code 1, which is a failed gate here.
    with group.make_context(_PROGRAM, arguments, obj=settings) as context:
        return int(group.invoke(context) or 0)


def explain(error: BaseException) -> tuple[str, int]:
    """What a user reads about an error, and the exit code; the text may be empty."""
    if isinstance(error, click.exceptions.Exit):
        return "", error.exit_code
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        what = "interrupted. What was finished is kept: the next run goes on where this one stopped"
        return what, INTERRUPTED
    if isinstance(error, BrokenPipeError) and _reader_left():
        return "", PIPE_CLOSED
    if isinstance(error, click.ClickException):
        return _call_text(error), ExitCode.USAGE
    if isinstance(error, RecipeError) and error.problems:
        count = len(error.problems)
        texts = [_error_text(problem) for problem in error.problems]
        return "\n".join([*texts, *([f"{count} problems"] if count > 1 else [])]), error.exit_code
    if isinstance(error, EdgestillError):
        return _error_text(error), error.exit_code
    return _internal_text(error), ExitCode.ENVIRONMENT


def _error_text(error: EdgestillError) -> str:
    """What and where on the first line, the fix below it."""
    what = f"{error.where}: {error.what}" if error.where else error.what
    lines = [*what.splitlines(), *(error.fix or "").splitlines()]
    return _indented("error: ", lines)


def _call_text(error: click.ClickException) -> str:
    lines = error.format_message().splitlines()
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context is not None:
        lines.append(f"See {context.command_path} --help")
    return _indented("error: ", lines)


def _internal_text(error: BaseException) -> str:
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    place = f" ({frame.tb_frame.f_code.co_filename}:{frame.tb_lineno})" if frame else ""
    words = f": {error}" if str(error).strip() else ""
    lines = f"{type(error).__name__}{words}".splitlines()
    lines[-1] += place
    advice = "This is a fault of edgestill. Run it again with --debug and report what it prints."
    return _indented("internal error: ", [*lines, advice])


def _indented(label: str, lines: Sequence[str]) -> str:
    first, *rest = lines or ["unknown"]
    return "\n".join([label + first, *(" " * 7 + line for line in rest)])


def _tell(text: str) -> None:
    """Write to standard error whatever its encoding; nobody may be there to read it."""
    with suppress(OSError, ValueError, AttributeError):
        encoding = sys.stderr.encoding or "utf-8"
        sys.stderr.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
        sys.stderr.flush()


def _reader_left() -> bool:
    """Whether standard output leads to nobody; a worker's broken pipe is something else."""
    poll = select.poll()
    with suppress(OSError, ValueError, AttributeError):
        poll.register(sys.stdout.fileno(), 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _finished(code: int) -> int:
    """`code`, after a last flush that a closed pipe cannot turn into another one."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes once more at exit and would complain: let that go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError, AttributeError):
        pass
    return int(code)
