"""What went wrong with a git fetch, in words for a person; this module loads dulwich and urllib3."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from dulwich.errors import HangupException, NotGitRepository
from urllib3.exceptions import HTTPError

from step_runner.errors import FetchError, StepRunnerError
from step_runner.fetch.disk import disk_reason
from step_runner.fetch.git.checkout import TreeError
from step_runner.fetch.git.client import CommitMissingError, NotGitServerError, RefusalError, StatusError
from step_runner.fetch.git.packfile import PackError
from step_runner.fetch.http import AnswerError
from step_runner.fetch.limits import LimitError
from step_runner.fetch.line import CLOSED, line_reason
from step_runner.fetch.messages import one_line, struck_out

if TYPE_CHECKING:
    from collections.abc import Iterator

    from step_runner.fetch.cancellation import Cancellation
    from step_runner.fetch.git.repository import Repository


@contextmanager
def explained(repository: Repository, revision: str, cancellation: Cancellation) -> Iterator[None]:
    """Turn whatever a fetch raises into a FetchError of one sentence, or into a StoppedError after a cancel.

    A server can send anything, and dulwich answers some of it with an AssertionError or an IndexError.
    """
    try:
        yield
    except Exception as error:
        cancellation.check()
        if isinstance(error, StepRunnerError):
            raise
        raise FetchError(f'cannot fetch "{revision}" of {repository}: {_reason(error, repository)}') from error


def _reason(error: Exception, repository: Repository) -> str:
    match error:
        case CommitMissingError():
            return "there is no such commit; check the revision"
        case StatusError(status=status):
            return _status_reason(status, repository)
        case RefusalError():
            return f'the git server said "{_shown(repository, str(error))}"; check the URL and the revision'
        case NotGitServerError():
            return "the server answers, but not as a git server; check the URL"
        case NotGitRepository():
            return "there is no git repository in this directory; check the path"
        case AnswerError() | LimitError():
            return str(error)
        case PackError():
            return f"the server sent a pack that is not as git makes them: {error}; try again later"
        case TreeError():
            return f"{error}; it is refused, correct it in the repository"
        case HangupException():
            return CLOSED
        case HTTPError():
            return line_reason(error, repository.host, partial(_shown, repository))
        case OSError():
            return disk_reason(error)
        case _:
            shown = _shown(repository, str(error)) or type(error).__name__
            return f"the answer is not understood ({shown}); check that this is a git repository"


def _status_reason(status: int, repository: Repository) -> str:
    if status == 401 and repository.user is None:
        return "the server asks for credentials; write user:token@ in front of the host"
    if status in (401, 403):
        return f"the server does not accept the credentials (HTTP {status}); check the token and what it may read"
    if status == 404:
        return "there is no such repository, or it needs credentials; check the URL"
    if status == 407:
        return "the proxy asks for credentials; write user:password@ in front of its host"
    return f"the server answered with HTTP status {status}; try again later"


def _shown(repository: Repository, text: str) -> str:
    return one_line(struck_out(text, repository.secrets))
