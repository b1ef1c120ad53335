"""The knowledge benchmarks: their texts, questions, scores, edits as tensors, and LoRA."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import tiny_models
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "Scripts/lib"))

import edit_bench  # noqa: E402
import edit_bench_cases as edit_cases  # noqa: E402
import rag_bench  # noqa: E402
import rag_bench_documents as rag  # noqa: E402
import table1_bench  # noqa: E402
from edit_bench_operations import Edit, edited, prefilled  # noqa: E402
from knowledge_model import Question, Reader, divergence, packed  # noqa: E402
from knowledge_report import wilson  # noqa: E402
from table1_lora import IGNORED, Adapter, Example, batches, train  # noqa: E402

PAGE = """\
==========================
Django {0} release notes
==========================

*{1}*

Django {0} fixes a security issue and several bugs in the release before.

CVE-2020-0001: Potential denial of service in ``Shared`` fields
===============================================================

CVE-2021-{2}: Possible XSS in ``widget.{2}`` of the :mod:`admin <django.contrib.admin>`
=======================================================================================

Bugfixes
========

* Fixed a regression that caused a crash of
  ``QuerySet.aggregate()`` number {2} (:ticket:`{2}`).

* Fixed what two releases fix (:ticket:`77777`).
"""
DAYS = ("May 1, 2020", "June 2, 2020", "July 3, 2020", "August 4, 2020", "May 5, 2021")


def letters(text: str) -> tuple[int, ...]:
    """A token for each character."""
    return tuple(map(ord, text))


def notes() -> list[rag.Note]:
    return rag.notes(
        {f"3.0.{n}.txt": PAGE.format(f"3.0.{n}", day, 31000 + n) for n, day in enumerate(DAYS)}
        | {"roadmap.txt": PAGE.format("9", "May 9, 2029", 1), "3.0.9.txt": "short"}
    )


@pytest.fixture(scope="module")
def reader() -> Reader:
    return Reader(tiny_models.tiny_model("llama"), None)


# Cases of edits


def test_a_case_has_its_facts_where_it_says_they_are() -> None:
    filler = letters("x" * 4 * 814)
    made = edit_cases.cases(filler, letters, 4)
    for number, case in enumerate(made):
        text = "".join(map(chr, case.ids))
        assert len(case.ids) == edit_cases.CONTEXT_TOKENS
        assert len(case.continued) == edit_cases.CONTINUED_TOKENS
        assert case.marked == number % 4
        for fact in case.facts:
            assert text[slice(*fact.sentence)] == f"The passkey of {fact.name} is {fact.number}."
            assert text[slice(*fact.digits)] == f" {fact.number}"
            assert text.count(fact.number) == 1 and text.count(fact.name) == 1
    assert made == edit_cases.cases(filler, letters, 4)


def test_a_text_too_short_for_the_cases_is_refused() -> None:
    with pytest.raises(ValueError, match="4 cases take 3256 tokens, the text has 3255"):
        edit_cases.cases(letters("x" * 3255), letters, 4)


# Edits as tensors


@pytest.mark.parametrize("kind", ["scaleKeys", "scaleValues", "addToKeys"])
def test_an_edit_changes_the_rows_and_layers_that_it_names_and_no_others(
    reader: Reader, kind: str
) -> None:
    planes, directions = prefilled(reader, range(3, 43))
    before = [(keys.clone(), values.clone()) for keys, values in planes]
    found = edited(planes, Edit(kind, 1.5, layers=(1, 3)), [(5, 8), (20, 21)], directions)
    rows = torch.zeros(40, dtype=torch.bool)
    rows[[5, 6, 7, 20]] = True
    edited_plane = 1 if kind == "scaleValues" else 0
    for number, (base, now, kept) in enumerate(zip(planes, found, before)):
        assert torch.equal(base[0], kept[0]) and torch.equal(base[1], kept[1])
        for plane in (0, 1):
            differs = (base[plane] != now[plane]).any(-1).any(1)[0]
            wanted = rows if number in (1, 2) and plane == edited_plane else ~rows & rows
            assert torch.equal(differs, wanted)


def test_dropped_rows_are_gone_and_the_rest_is_as_it_was(reader: Reader) -> None:
    planes = reader.prefill(range(3, 13))
    for base, now in zip(planes, edited(planes, Edit("drop"), [(0, 1), (4, 7)])):
        for plane in (0, 1):
            assert torch.equal(now[plane], base[plane][:, :, [1, 2, 3, 7, 8, 9]])


def test_a_mean_query_gains_what_the_direction_promises(reader: Reader) -> None:
    planes, directions = prefilled(reader, range(3, 43))
    added = edited(planes, Edit("addToKeys", 2.0), [(0, 40)], directions)
    dim = reader.model.config.head_dim
    for base, now, direction in zip(planes, added, directions):
        # The mean query is parallel to its direction, and `direction . mean query = sqrt(dim)`.
        mean = direction * dim**0.5 / direction.pow(2).sum(-1, keepdim=True)
        gained = ((now[0] - base[0])[0] * mean[:, None]).sum(-1) / dim**0.5
        assert torch.allclose(gained, torch.full_like(gained, 2.0), atol=1e-3)


def test_an_unknown_edit_is_refused(reader: Reader) -> None:
    with pytest.raises(ValueError, match="no such edit"):
        edited(reader.prefill([3, 4]), Edit("turn", 1.0), [(0, 1)])


def line(setting: str, **changed: Any) -> dict[str, Any]:
    facts = {"picks_marked": 0.9, "side_effect": 0.01, "named_nats": -1.0, "ambiguous_nats": -2.0}
    if setting == edit_bench.SUPPRESS:
        facts |= {"picks_marked": 0.0, "named_right": 0.0}
    return {"setting": setting, **facts, **changed}


def test_each_missed_bar_of_the_edits_is_told() -> None:
    names = ("none", edit_bench.EMPHASISE, edit_bench.SUPPRESS, edit_bench.REVERTED)
    assert edit_bench.missed([line(name) for name in names]) == []
    changed = {
        edit_bench.EMPHASISE: {"picks_marked": 0.84, "side_effect": 0.013},
        edit_bench.SUPPRESS: {"picks_marked": 0.06, "named_right": 0.06},
        edit_bench.REVERTED: {"named_nats": -1.1},
    }
    assert len(edit_bench.missed([line(name, **changed.get(name, {})) for name in names])) == 5


# Scores


def test_questions_read_together_score_as_each_alone(reader: Reader) -> None:
    text = list(range(10, 30))
    questions = [
        Question((40, 41, 42), ((50,), (51, 52, 53), (54, 55))),
        Question((43, 44), ((50, 51, 52), (50, 51, 53, 54), (50, 51, 53, 55))),
        Question((60,), ((61, 62), (63,)), keep=True),
    ]
    planes = reader.prefill(text)
    for found in (reader.read(planes, 20, questions), reader.read(None, 0, questions, text)):
        for question, reading in zip(questions, found):
            for candidate, score in zip(question.candidates, reading.scores):
                ids = [*text, *question.prompt, *candidate]
                with torch.inference_mode():
                    told = reader.model(torch.tensor([ids])).logits[0].log_softmax(-1)
                rows = range(len(ids) - len(candidate) - 1, len(ids) - 1)
                alone = sum(float(told[row, ids[row + 1]]) for row in rows)
                assert score == pytest.approx(alone, abs=1e-4)
    assert found[0].tokens is None
    assert found[2].tokens is not None and found[2].tokens.shape == (1, 128)
    assert planes[0][0].shape[2] == 20


def test_a_hole_in_the_positions_is_kept(reader: Reader) -> None:
    _, places, _ = packed([Question((1, 2), ((3, 9), (4, 5, 6)))], 100)
    assert places == [100, 101, 102, 102, 103]
    planes = reader.prefill(range(10, 30))
    question = [Question((40, 41), ((50,), (51,)))]
    near = reader.read(planes, 20, question)[0].scores
    assert reader.read(planes, 60, question)[0].scores != near


def test_candidates_see_their_prompt_and_the_text_but_not_each_other() -> None:
    tokens, _, sees = packed([Question((1, 2), ((7, 3, 8), (7, 4, 5))), Question((6,))], 0, [9])
    assert tokens == [9, 1, 2, 7, 3, 4, 6]
    seen = [[tokens[column] for column in range(7) if sees[row, column]] for row in range(7)]
    trunk = [9, 1, 2, 7]
    assert seen == [[9], [9, 1], [9, 1, 2], trunk, [*trunk, 3], [*trunk, 4], [9, 6]]


def test_divergence_is_zero_of_itself_and_positive_of_another() -> None:
    one = torch.tensor([[0.5, 0.5], [0.9, 0.1]]).log()
    other = torch.tensor([[0.25, 0.75], [0.9, 0.1]]).log()
    assert divergence(one, one) == 0
    assert divergence(one, other) == pytest.approx(0.1438 / 2, abs=1e-4)


def test_the_interval_of_a_share_is_wilsons() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(18, 20) == pytest.approx((0.699, 0.972), abs=1e-3)
    low, high = wilson(20, 20)
    assert high == 1.0 and 0.83 < low < 0.84


# Documents and questions


def test_markup_becomes_plain_text() -> None:
    text = rag.plain(PAGE.format("3.0.1", "May 1, 2020", 31001))
    assert "* Fixed a regression that caused a crash of QuerySet.aggregate() number 31001" in text
    assert "widget.31001 of the admin\n" in text
    assert "==" not in text and "``" not in text and ":ticket:" not in text


def test_documents_are_releases_of_a_fit_length() -> None:
    assert [made.release for made in notes()] == [f"3.0.{n}" for n in range(5)]


def test_a_fact_that_stands_in_two_documents_is_not_asked_for() -> None:
    found = rag.facts(notes())
    answers = {fact.answer for fact in found}
    assert {"31001", "2021-31001", " May 1, 2020", " 3.0.1"} <= answers
    assert not answers & {"77777", "2020-0001"}
    for fact in found:
        holders = [made for made in notes() if fact.key in made.text]
        assert [made.release for made in holders] == [fact.release]
        assert fact.answer.strip() in holders[0].text


def test_a_prompt_holds_the_document_that_answers_and_the_right_answer_once() -> None:
    made = rag.prompts(notes(), rounds=2)
    assert made == rag.prompts(notes(), rounds=2) and len(made) == 10
    assert len({prompt.retrieved for prompt in made}) > 5
    facts = rag.facts(notes())
    known = {(fact.question, fact.lead, fact.answer) for fact in facts}
    for prompt in made:
        assert len(set(prompt.retrieved)) == rag.RETRIEVED
        for asked in prompt.questions:
            assert asked.release in prompt.retrieved
            assert len(set(asked.candidates)) == len(asked.candidates) > 1
            body, lead = asked.prompt.removeprefix("\nQuestion: ").split("\nAnswer: ")
            assert (body, lead, asked.candidates[asked.right]) in known
            same = {f.answer for f in facts if (f.release, f.kind) == (asked.release, asked.kind)}
            assert same & set(asked.candidates) == {asked.candidates[asked.right]}


def answers(way: str, right: list[bool]) -> list[rag_bench.Answer]:
    return [rag_bench.Answer(way, n // 2, "date", r, -1.0) for n, r in enumerate(right)]


def test_a_blend_that_answers_less_than_full_prefill_is_told() -> None:
    way = next(iter(rag_bench.BLENDS))
    full = answers(rag_bench.FULL, [True] * 100)
    few = rag_bench.summary(full + answers(way, [True] * 97 + [False] * 3))
    assert rag_bench.missed(few) == [f"{way}: -3.0 points to full prefill"]
    low, high = few[1]["to_full_prefill_interval"]
    assert low < -0.03 < high <= 0
    same = rag_bench.summary(full + answers(way, [True] * 98 + [False] * 2))
    assert rag_bench.missed(same) == []


# Fine-tuning


def test_lora_changes_the_weights_and_can_be_removed_bit_for_bit() -> None:
    model = tiny_models.tiny_model("llama")
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    ids = torch.tensor([[5, 9, 13, 17, 21]])
    with torch.inference_mode():
        base = model(ids).logits
    adapter = Adapter(model, rank=4)
    with torch.inference_mode():
        assert torch.equal(model(ids).logits, base)
    losses = train(model, adapter, [Example((5, 9, 13, 17, 21), 1)], steps=12, rate=1e-2)
    assert losses[-1] < losses[0] - 0.5
    with torch.inference_mode():
        attached = model(ids).logits
        adapter.merge()
        merged = model(ids).logits
    assert torch.allclose(attached, merged, atol=1e-4) and not torch.allclose(base, merged)
    changed = {name for name, w in model.state_dict().items() if not torch.equal(w, before[name])}
    assert len(changed) == 4 * 7
    adapter.remove()
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)
    with torch.inference_mode():
        assert torch.equal(model(ids).logits, base)


def test_each_epoch_has_every_example_and_pads_what_is_no_target() -> None:
    examples = [Example(tuple(range(1, n + 2)), given=1) for n in range(1, 8)]
    source = batches(examples, tokens=16)
    seen: list[tuple[int, ...]] = []
    while len(seen) < len(examples):
        ids, targets, mask = next(source)
        assert ids.numel() <= 16
        for row in range(len(ids)):
            count = int(mask[row].sum())
            seen.append(tuple(ids[row, :count].tolist()))
            assert targets[row, 0] == IGNORED and (targets[row, count:] == IGNORED).all()
            assert torch.equal(targets[row, 1:count], ids[row, 1:count])
    assert sorted(seen) == sorted(example.ids for example in examples)


def test_an_example_longer_than_a_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="more than 4 tokens"):
        next(batches([Example((1, 2, 3, 4, 5))], tokens=4))


def test_a_model_without_linear_targets_gets_no_adapter() -> None:
    with pytest.raises(ValueError, match="none of"):
        Adapter(torch.nn.Sequential(torch.nn.Linear(2, 2)))


# Table 1


def test_the_first_token_behind_kv_is_that_behind_the_text(reader: Reader) -> None:
    ids = tiny_models.prompt(40)
    with torch.inference_mode():
        wanted = int(reader.model(torch.tensor([ids])).logits[0, -1].argmax())
    assert table1_bench.first_token(reader, None, 0, ids) == wanted
    planes = reader.prefill(ids[:30])
    assert table1_bench.first_token(reader, planes, 30, ids[30:]) == wanted
    assert planes[0][0].shape[2] == 30


def test_a_row_of_table_1_tells_medians_and_the_share_of_right_answers() -> None:
    method = table1_bench.Method("KDN", 12.0, 20.0, [0.3, 0.1, 0.2], [0.6, 0.4, 0.5], 9, 10)
    made = method.line()
    assert (made["delay_seconds"], made["cpu_seconds"], made["accuracy"]) == (0.2, 0.5, 0.9)
    row = table1_bench.table([made]).splitlines()[-1]
    assert row == "| KDN | 12.0 s | 20.0 s | 0.50 s | 0.20 s | 90% (60% to 98%) |"
