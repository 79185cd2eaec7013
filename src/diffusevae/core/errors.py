"""The two kinds of failure a user can mend, each shown as one line; and no line shows a password.

A failure's text hides passwords from its start, so that it may be printed, logged and stored.
`guard_output` does the same for log lines and for what Python itself says.
"""

import logging
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from urllib.parse import unquote

# The login of an address, even one whose password has a / or an @; digits and a / are its port.
LOGIN = re.compile(r"(?<=://)(?:[^\s/:@]*:(?!\d+[/?#])\S*@|[^\s/?#]+@)")
QUERY = re.compile(r"(?i)([?&][\w-]*(?:password|passwd|token|secret|signature)=)[^\s&'\"]+")
# Variables whose value is a secret, whatever it looks like.
SECRET = re.compile(r"(?i)(PASSWORD|AUTH_STRING|TOKEN|SECRET|SECRET_ACCESS_KEY|API_KEY)$")
# What names and texts from files may hold: ends of lines, and what terminals obey.
LINE_ENDS = re.compile(r"\s*[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]\s*")
CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f]")
SHORTEST = 6  # characters of a secret that is told from a word anywhere in a text


class Failure(Exception):
    """Says in one line what is wrong and what to do, whatever it quotes."""

    exit_code: int

    def __init__(self, text: str) -> None:
        line = LINE_ENDS.sub(" ", hide_passwords(text))
        super().__init__(CONTROLS.sub(lambda found: repr(found[0])[1:-1], line))


class InputError(Failure):
    """Something the user gave is wrong: params.yaml, an argument, a file. Exit code 2."""

    exit_code = 2


class Diverged(InputError):
    """A training's loss stopped being finite."""


class EnvironmentFailure(Failure):
    """The machine lacks something: disk space, permission, network, a device. Exit code 3."""

    exit_code = 3


def hide_passwords(text: str) -> str:
    """Return a text with *** for the logins of its addresses and the environment's passwords."""
    for secret in sorted(set(_secrets()), key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", "***", text)
    return QUERY.sub(r"\1***", LOGIN.sub("***@", text))


class _Guarded:
    """Makes log records without passwords, from another maker's."""

    def __init__(self, make_plain: Callable[..., logging.LogRecord]) -> None:
        self.make_plain = make_plain

    def __call__(self, *arguments, **options) -> logging.LogRecord:
        record = self.make_plain(*arguments, **options)
        with suppress(TypeError, ValueError):  # a wrong format, which logging itself will tell
            text = record.getMessage()
            if (hidden := hide_passwords(text)) != text:
                record.msg, record.args = hidden, None
        if record.exc_info and record.exc_info[1]:
            text = logging.Formatter().formatException(record.exc_info)
            if (hidden := hide_passwords(text)) != text:
                record.exc_text = hidden  # which formatters take as it is
        return record


def guard_output() -> None:
    """Hide passwords in this process's log lines and in its tracebacks; end by Ctrl-C in one line.

    Who calls this first is stopped so even while the rest is imported.
    """
    make_plain = logging.getLogRecordFactory()
    if isinstance(make_plain, _Guarded):
        return
    logging.setLogRecordFactory(_Guarded(make_plain))
    sys.excepthook = _end
    threading.excepthook = lambda failed: _show(
        failed.exc_type, failed.exc_value, failed.exc_traceback
    )


def _end(*error) -> None:
    if issubclass(error[0], KeyboardInterrupt):
        sys.stderr.write("error: stopped by Ctrl-C\n")
        raise SystemExit(128 + signal.SIGINT)
    _show(*error)


def _show(*error) -> None:
    sys.stderr.write(hide_passwords("".join(traceback.format_exception(*error))))
    sys.stderr.flush()


def _secrets() -> Iterator[str]:
    """Yield the passwords in this process's environment, as they are and as addresses have them."""
    for name, value in os.environ.items():
        found = []
        if "://" in value:
            found = [value.partition("://")[2].rpartition("@")[0].partition(":")[2]]
        elif SECRET.search(name):
            found = [value, value.partition(":")[2]]  # USER:PASSWORD is one, too
        for secret in found:
            yield from (each for each in (secret, unquote(secret)) if len(each) >= SHORTEST)
