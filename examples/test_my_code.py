"""Test your own code against the mock: `pytest test_my_code.py`. The installed package brings the fixture."""

from huaweicloud_retry import APIError
from huaweicloud_retry.testing import Mock
from huaweicloud_retry_client import Client
from huaweicloud_retry_client.api.cse import retry_engine
from huaweicloud_retry_client.models import EngineActionRequest

PROJECT, ENGINE = "demo-project", "4a1bc63d-4719-4bd3-b1ad-5ee590b05e87"


def my_code(client: Client) -> str:
    try:
        retry_engine.sync(PROJECT, ENGINE, client=client, body=EngineActionRequest())
    except APIError as error:
        return "look first" if error.outcome_unknown else "refused"
    return "runs again"


def test_a_failed_job_runs_again_and_finishes(huaweicloud_mock: Mock) -> None:
    assert my_code(huaweicloud_mock.cse) == "runs again"
    huaweicloud_mock.advance(seconds=30)
    (job,) = huaweicloud_mock.state()["projects"][PROJECT]["engines"][ENGINE]["jobs"]
    assert job["status"] == "Finished"


def test_a_job_that_runs_already_is_refused(huaweicloud_mock: Mock) -> None:
    my_code(huaweicloud_mock.cse)
    assert my_code(huaweicloud_mock.cse) == "refused"


def test_a_lost_response_is_looked_into_first(huaweicloud_mock: Mock) -> None:
    huaweicloud_mock.add_fault(operation="RetryEngine", close="after", times=1)
    assert my_code(huaweicloud_mock.cse) == "look first"
