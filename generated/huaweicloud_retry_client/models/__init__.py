"""Contains all the data models used in inputs/outputs"""

from .engine_action_request import EngineActionRequest
from .engine_action_response import EngineActionResponse
from .engine_error_body import EngineErrorBody
from .error_body import ErrorBody
from .retry_script_execution_request import RetryScriptExecutionRequest
from .retry_script_execution_response import RetryScriptExecutionResponse

__all__ = (
    "EngineActionRequest",
    "EngineActionResponse",
    "EngineErrorBody",
    "ErrorBody",
    "RetryScriptExecutionRequest",
    "RetryScriptExecutionResponse",
)
