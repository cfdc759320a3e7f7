"""Everything that can go wrong reaches a DAG author as an exception that Airflow understands."""

from __future__ import annotations

import inspect
import pickle

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException

from astronomer_remote import exceptions
from astronomer_remote.api.protocol import errors

CAUSES = [each for _, each in inspect.getmembers(errors, inspect.isclass) if issubclass(each, errors.RemoteError)]
RAISED = [each for each in CAUSES if not each.__subclasses__() or each in (errors.NotFound, errors.Conflict)]
RAISED += [errors.DagRunNotFound]


@pytest.mark.parametrize("cause", CAUSES)
def test_each_error_of_the_api_has_an_exception_at_the_same_place_in_the_tree(cause: type[errors.RemoteError]) -> None:
    twin = getattr(exceptions, cause.__name__)
    assert issubclass(twin, cause)
    assert issubclass(twin, AirflowException)
    for parent in cause.__mro__[1 : cause.__mro__.index(errors.RemoteError) + 1]:
        assert issubclass(twin, getattr(exceptions, parent.__name__, parent))


@pytest.mark.parametrize("cause", CAUSES)
def test_airflow_retries_transient_errors_and_fails_at_once_for_permanent_ones(cause: type[errors.RemoteError]) -> None:
    twin = getattr(exceptions, cause.__name__)
    assert issubclass(twin, AirflowFailException) == issubclass(cause, errors.PermanentError)


@pytest.mark.parametrize("cause", RAISED)
def test_an_error_keeps_its_details_when_it_becomes_airflows(cause: type[errors.RemoteError]) -> None:
    error = cause("What happened.", status=418, method="GET", path="/tea", detail="I am a teapot")
    if isinstance(error, errors.RemoteUnavailable):
        error.retry_after = 7.0
    twin = exceptions.for_airflow(error)
    assert type(twin) is exceptions.BY_NAME[cause.__name__]
    assert str(twin) == str(error)
    assert vars(twin) == vars(error)
    assert exceptions.for_airflow(twin) is twin


@pytest.mark.parametrize("cause", RAISED)
def test_an_exception_survives_the_way_between_processes(cause: type[errors.RemoteError]) -> None:
    before = exceptions.for_airflow(cause("What happened.", status=500, method="POST", path="/x", detail="why"))
    after = pickle.loads(pickle.dumps(before))
    assert type(after) is type(before)
    assert str(after) == str(before)
    assert vars(after) == vars(before)


@pytest.mark.parametrize("own", [exceptions.DagRunFailed, exceptions.WaitTimeout])
def test_a_failed_run_lets_airflow_retry(own: type[exceptions.RemoteError]) -> None:
    assert issubclass(own, exceptions.RemoteError)
    assert not issubclass(own, AirflowFailException)


def test_the_error_of_the_api_is_replaced_and_its_cause_kept() -> None:
    with pytest.raises(exceptions.Unreachable) as caught, exceptions.airflow_exceptions():
        raise errors.Unreachable("No reply.") from OSError("down")
    assert isinstance(caught.value.__cause__, OSError)


def test_other_errors_pass_as_they_are() -> None:
    with pytest.raises(KeyError), exceptions.airflow_exceptions():
        raise KeyError("not ours")


def test_invalid_settings_are_a_value_error_too() -> None:
    assert issubclass(exceptions.InvalidSettings, ValueError)
