"""Blends whose layers come one after another, from one that does what a server's COMPOSE does."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from blend_samples import (
    client,  # noqa: F401 (fixture)
    difference,
    learn_all,
    loud_model,
    one_thread,  # noqa: F401 (fixture)
)
from tiny_caches import Wrapped

from kdn.blending.errors import DocumentUnavailable
from kdn.compose import Composed, PiecePlace
from kdn.engines import _documents
from kdn.engines import transformers_blend as blending
from kdn.engines._delivery import Arriving, Delivered
from kdn.errors import DeadlineExceeded, ProtocolError, ServerError, Status

PIECES = ["a", ("b", 0, 120), "c"]


class Composing(Wrapped):
    """Stores a blend's layers when it is told to, as a server would under the blend's keys."""

    def __init__(self, client: Any, model: Any, spoil: str = "") -> None:
        super().__init__(client)
        self.model = model
        self.spoil = spoil
        self.requests: list[dict[str, Any]] = []
        self.composed: Composed | None = None
        self.source: blending.Blend | None = None

    def compose(self, layout_id: bytes, pieces: Any, **options: Any) -> Composed:
        if self.spoil == "unsupported":
            raise ServerError(Status.UNSUPPORTED, "op", 33)
        self.requests.append({"pieces": pieces, **options})
        made = blending.compose(
            self.model,
            [(one.name, one.epoch, one.slot) for one in pieces],
            self.client,
            recompute=options["recompute_permille"] / 1000,
            first_position=options["first_position"],
            drop_first=options["drop_first"],
            source="here",
        )
        places = tuple(
            PiecePlace(
                epoch, one.token_count, one.first_position, one.first_row, one.dropped,
                () if self.spoil == "plan" else one.recompute,
            )
            for epoch, one in zip(made.epochs, made.plan.placements, strict=True)
        )
        total = made.plan.recompute_tokens
        self.source = made
        self.composed = Composed(
            b"\x07" * 32, layout_id, made.row_count, made.end_position, made.bytes, total, places
        )
        return self.composed

    def deliver(self, *numbers: int) -> None:
        assert self.composed is not None and self.source is not None
        for number in numbers:
            pair = torch.cat([part[0][None] for part in self.source.delivery.layer(number)])
            data = pair.contiguous().view(torch.uint8).flatten()
            if self.spoil == "short":
                data = data[: data.numel() // 2]
            key = self.composed.key(number, pair.shape[1])
            tokens = self.source.row_count // (2 if self.spoil == "short" else 1)
            self.client.put(key, memoryview(data.numpy()), token_count=tokens)


@pytest.fixture
def model(client: Any) -> Any:
    made = loud_model("llama")
    learn_all(made, client)
    return made


def test_layers_are_those_that_the_server_made_and_it_is_asked_what_was_planned(client, model):
    server = Composing(client, model)
    found = blending.compose(
        model, PIECES, server, recompute=0.1, first_position=5, without=["x", "y*"]
    )
    assert isinstance(found.delivery, Arriving)
    server.deliver(0, 1, 2, 3)
    for mine, own in zip(found.cache.layers, server.source.cache.layers, strict=True):
        assert torch.equal(mine.keys, own.keys) and torch.equal(mine.values, own.values)
    (request,) = server.requests
    assert [(one.name, one.epoch, one.slot) for one in request["pieces"]] == [
        ("a", found.epochs[0], 0), ("b", found.epochs[1], 120), ("c", found.epochs[2], 0),
    ]
    assert request["recompute_permille"] == 100 and request["first_position"] == 5
    assert request["drop_first"] and request["edits"] and request["forbidden"] == ["x"]


@pytest.mark.parametrize("selection", ["first", "deviation"])
def test_rows_are_computed_while_later_layers_are_still_to_come(client, model, selection):
    server = Composing(client, model)
    composed = blending.compose(model, PIECES, server, recompute=0.2)
    begun = [threading.Event() for _ in range(4)]
    hooks = [
        layer.register_forward_pre_hook(lambda *_, event=event: event.set())
        for layer, event in zip(model.model.layers, begun, strict=True)
    ]

    def deliver() -> None:
        # Each layer is stored once the pass is at it, which needed all before it to be there.
        for number, event in enumerate(begun):
            assert event.wait(20)
            server.deliver(number)

    worker = threading.Thread(target=deliver)
    worker.start()
    found = blending.recompute(model, composed, selection=selection)
    worker.join()
    for hook in hooks:
        hook.remove()
    here = blending.compose(model, PIECES, client, recompute=0.2, source="here")
    expected = blending.recompute(model, here, selection=selection)
    assert found.recomputed == expected.recomputed
    assert difference(found.cache, expected.cache) == 0


def test_a_layer_that_does_not_come_is_an_error_and_not_a_cache(client, model):
    server = Composing(client, model)
    found = blending.compose(model, PIECES, server, timeout=0.5)
    server.deliver(0, 1, 3)
    with pytest.raises((DocumentUnavailable, DeadlineExceeded, ServerError)):
        _ = found.cache
    assert found.made is None


def test_a_layer_of_another_size_is_an_error_that_names_it(client, model):
    server = Composing(client, model, spoil="short")
    found = blending.compose(model, PIECES, server)
    server.deliver(0, 1, 2, 3)
    with pytest.raises(DocumentUnavailable, match="layer 0 of its blend"):
        _ = found.cache


def test_a_server_with_another_plan_is_not_believed(client, model):
    with pytest.raises(ProtocolError) as caught:
        blending.compose(model, PIECES, Composing(client, model, spoil="plan"), recompute=0.1)
    assert caught.value.field == "plan"


def test_a_server_that_makes_no_blends_leaves_it_to_the_engine(client, model):
    server = Composing(client, model, spoil="unsupported")
    found = blending.compose(model, PIECES, server)
    assert type(found.delivery) is Delivered
    plane = _documents.the_plane(model)
    assert found.bytes == plane.chunk_bytes(found.row_count)
