"""Every way in which netinspect ends without an answer.

::

    NetinspectError
    ├── UsageError            2  the command line, or a file it names, cannot be meant so
    │   └── KubeconfigError   2  no usable kubeconfig, context, user or cluster entry
    ├── ClusterError          3  the API server did not let us look
    │   ├── UnreachableError  3  no connection, a proxy in the way, or no answer in time
    │   ├── CertificateError  3  the two sides do not trust each other's certificates
    │   ├── CredentialsError  3  the server does not know who we are
    │   └── ApiError          3  the server answered with an error
    ├── NodeError             3  a node did not let us look
    ├── ParseError            3  what a tool printed is not what it prints
    └── BundleError           3  a recording cannot be read

An error says in one sentence what happened; its hint says what to do about it.
"""

from typing import ClassVar


class NetinspectError(Exception):
    """What a user can do something about; anything else that is raised is a bug of ours."""

    exit_code: ClassVar[int] = 3

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(NetinspectError):
    """The command line, or a file that it names, cannot be meant so."""

    exit_code = 2


class KubeconfigError(UsageError):
    """No usable kubeconfig, context, user or cluster entry."""


class ClusterError(NetinspectError):
    """The API server did not let us look."""


class UnreachableError(ClusterError):
    """No connection to the API server, or no answer in time."""


class CertificateError(ClusterError):
    """The server's certificate is not trusted here, or ours not there."""


class CredentialsError(ClusterError):
    """The API server does not know who we are (401)."""


class ApiError(ClusterError):
    """The API server answered with an error; ``status`` is the HTTP code and ``reason`` the API's own word."""

    def __init__(self, message: str, *, status: int, reason: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.reason = reason


class NodeError(NetinspectError):
    """A node, or the way into it, did not let us look."""


class ParseError(NetinspectError):
    """What a tool printed cannot be read; names the section of the evidence and the line in it, from 1."""

    def __init__(self, section: str, line: int, message: str) -> None:
        super().__init__(f"{section}, line {line}: {message}", hint="the tool may be of a version not known here")
        self.section = section
        self.line = line


class BundleError(NetinspectError):
    """A recording is damaged, hostile, or of a version that this program does not read."""
