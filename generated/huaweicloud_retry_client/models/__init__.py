"""Contains all the data models used in inputs/outputs"""

from .engine import Engine
from .engine_action_request import EngineActionRequest
from .engine_action_response import EngineActionResponse
from .engine_additional_action import EngineAdditionalAction
from .engine_error_body import EngineErrorBody
from .engine_job import EngineJob
from .engine_job_step import EngineJobStep
from .engine_job_task import EngineJobTask
from .engine_status import EngineStatus
from .error_body import ErrorBody
from .job_status import JobStatus
from .job_type import JobType
from .list_script_records_task_type import ListScriptRecordsTaskType
from .retry_script_execution_request import RetryScriptExecutionRequest
from .retry_script_execution_response import RetryScriptExecutionResponse
from .script_record import ScriptRecord
from .script_record_detail import ScriptRecordDetail
from .script_record_page import ScriptRecordPage
from .task_executor_brief import TaskExecutorBrief

__all__ = (
    "Engine",
    "EngineActionRequest",
    "EngineActionResponse",
    "EngineAdditionalAction",
    "EngineErrorBody",
    "EngineJob",
    "EngineJobStep",
    "EngineJobTask",
    "EngineStatus",
    "ErrorBody",
    "JobStatus",
    "JobType",
    "ListScriptRecordsTaskType",
    "RetryScriptExecutionRequest",
    "RetryScriptExecutionResponse",
    "ScriptRecord",
    "ScriptRecordDetail",
    "ScriptRecordPage",
    "TaskExecutorBrief",
)
