"""The two kinds of failure a user can mend; both are shown as one line, never as a traceback."""


class InputError(Exception):
    """Something the user gave is wrong: params.yaml, an argument, a file. Exit code 2."""

    exit_code = 2


class Diverged(InputError):
    """A training's loss stopped being finite."""


class EnvironmentFailure(Exception):
    """The machine lacks something: disk space, permission, network, a device. Exit code 3."""

    exit_code = 3
