"""Which model takes what is asked of it, and how much that is believed to take: plays before the desk."""

from __future__ import annotations

import pytest
from tests.gateway.plays import EMBED, ONE_SEAT, Play, document
from tests.gateway.virtual import played

from samdrift.gateway.questions import Allow, Deny
from samdrift.spec.document import Spec
from samdrift.spec.fleet import Fleet, Replica, ReplicaState
from samdrift.spec.problems import PROBLEMS, Reason, render_problem

RERANK = "/v1/rerank"
EYES = Replica("eyes-0", "eyes", "run/eyes-0.sock", 1, 2048)
SORT = Replica("sort-0", "sort", "run/sort-0.sock", 1, 2048)
HERE = {"weights": "file:x", "pool": "here", "seats": 1}


def able(**changes: object) -> Spec:
    """Models of all tasks; one of those that chat sees."""
    models = {"chat": HERE, "eyes": {**HERE, "projector": "file:p.gguf"}, "embed": {**HERE, "task": "embed"},
        "sort": {**HERE, "task": "rerank"}}  # fmt: skip
    return document(models=models, **changes)


def play(spec: Spec | None = None, fleet: Fleet | None = None) -> Play:
    return Play(spec or able(), fleet or Fleet((ONE_SEAT, EYES, SORT)))


def test_images_go_to_a_model_that_sees() -> None:
    async def scene() -> None:
        assert play().admit("t1", model="eyes", images=2).replica == "eyes-0"

    played(scene())


def test_images_for_a_model_that_does_not_see_are_refused_and_those_that_do_are_named() -> None:
    async def scene() -> None:
        denied = play().deny("t1", images=1)
        assert denied.reason is Reason.NO_IMAGES
        status, body = render_problem(denied.reason, **denied.named)
        assert status == 400
        assert b"The model chat takes no images. Of yours, eyes does." in body

    played(scene())


def test_of_models_that_one_may_not_use_nobody_is_told() -> None:
    async def scene() -> None:
        spec = able(organisations={"aarhus": {"models": ["chat"]}, "viborg": {}, "samsoe": {}})
        assert play(spec).deny("t1", images=1).named == {"model": "chat", "others": "None of yours does."}

    played(scene())


def test_who_has_no_turn_for_a_model_learns_nothing_of_what_it_takes() -> None:
    async def scene() -> None:
        spec = able(organisations={"aarhus": {"models": ["embed"]}, "viborg": {}, "samsoe": {}})
        assert play(spec).deny("t1", images=1).reason is Reason.FORBIDDEN_MODEL

    played(scene())


@pytest.mark.parametrize(("model", "path"), [("sort", EMBED), ("sort", "/v1/chat/completions"), ("embed", RERANK),
    ("chat", RERANK), ("eyes", EMBED)])  # fmt: skip
def test_each_task_has_its_paths(model: str, path: str) -> None:
    async def scene() -> None:
        assert play().deny("t1", model=model, path=path).reason is Reason.WRONG_ENDPOINT

    played(scene())


def test_reranking_writes_nothing_and_is_believed_to_read_the_query_with_each_document() -> None:
    async def scene() -> None:
        at = play()
        at.admit("t1", model="sort", path=RERANK, size=400, text=4000, max_output=None)
        small, large = play(), play()
        small.admit("t1", model="sort", path=RERANK, size=400, text=400)
        large.admit("t1", model="sort", path=RERANK, size=400, text=40_000)
        charged = [each.desk.open_tickets[0].charged for each in (small, at, large)]
        assert charged == sorted(charged)
        assert charged[0] == 101  # four bytes a token and one more, at one for each that is read

    played(scene())


def test_an_image_counts_as_one_however_many_bytes_it_has() -> None:
    async def scene() -> None:
        charged = []
        for size in (1_000, 1_000_000):
            at = play()
            at.admit("t1", model="eyes", size=size, text=400, images=1, max_output=1)
            charged.append(at.desk.open_tickets[0].charged)
        assert charged[0] == charged[1] > 500

    played(scene())


def test_a_model_that_does_not_see_stands_in_for_none_that_does_while_there_are_images() -> None:
    async def scene() -> None:
        models = {"eyes": {**HERE, "projector": "file:p.gguf", "fallback": ["chat", "lens"]}, "chat": HERE,
            "lens": {**HERE, "projector": "file:q.gguf"}}  # fmt: skip
        spec = document(models=models, organisations={"aarhus": {}, "viborg": {}, "samsoe": {}})
        down = Replica("eyes-0", "eyes", "run/eyes-0.sock", 1, 2048, ReplicaState.DOWN)
        lens = Replica("lens-0", "lens", "run/lens-0.sock", 1, 2048)
        at = Play(spec, Fleet((down, ONE_SEAT, lens)))
        assert at.admit("t1", model="eyes").replica == "chat-0"
        assert at.admit("t2", model="eyes", images=1).replica == "lens-0"
        alone = Play(spec, Fleet((down, ONE_SEAT)))
        answer = alone.ask("t3", model="eyes", images=1)
        assert not isinstance(answer, Allow)
        if isinstance(answer, Deny):
            assert answer.reason is Reason.NO_REPLICA

    played(scene())


@pytest.mark.parametrize("reason", [Reason.REMOTE_IMAGE, Reason.UNSUPPORTED_PART, Reason.IMAGE_TOO_LARGE])
def test_what_is_wrong_with_parts_of_messages_is_said_whatever_the_model(reason: Reason) -> None:
    async def scene() -> None:
        denied = play().deny("t1", model="eyes", fault=reason, detail="input_audio")
        assert denied.reason is reason
        _, body = render_problem(reason, **denied.named)
        assert b"?" not in body
        assert PROBLEMS[reason].param == "messages"

    played(scene())
