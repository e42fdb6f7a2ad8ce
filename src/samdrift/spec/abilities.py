"""What models can do: the tasks, the paths that answer them, and what goes in. The one table, for all who ask. Pure."""

from __future__ import annotations

from typing import Literal, get_args

Task = Literal["generate", "embed", "rerank"]
"""What a model is for."""

TASKS: tuple[Task, ...] = get_args(Task)

ENDPOINTS: dict[str, Task] = {
    "/v1/chat/completions": "generate",
    "/v1/completions": "generate",
    "/v1/embeddings": "embed",
    "/v1/rerank": "rerank",
}
"""The paths that engines answer, and the task a model must have for each."""


def endpoints_of(task: Task) -> tuple[str, ...]:
    """The paths that answer this task."""
    return tuple(path for path, its in ENDPOINTS.items() if its == task)
