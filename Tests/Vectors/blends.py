"""Plans of blends, as Protocol.md spells them, section COMPOSE: one token at a time, by masks."""

import hashlib
import struct


def piece(tokens, slot=0, drops=(), scores=None):
    return {"tokenCount": tokens, "slot": slot, "drops": [list(span) for span in drops],
            "scores": scores}


def ask(*pieces, first=0, drop_first=True, permille=0, limit=2**31):
    return {"pieces": list(pieces), "firstPosition": first, "dropFirst": drop_first,
            "recomputePermille": permille, "positionLimit": limit}


def pseudo_scores(count, seed):
    """Finite f32 numbers without a pattern, negative ones among them."""
    scores = []
    for number in range(count):
        digest = hashlib.sha256(struct.pack("<II", seed, number)).digest()
        scores.append((int.from_bytes(digest[:2], "little") - 32768) / 4096)
    return scores


def ranges(marked):
    """[start, end] of each run of true."""
    found = []
    for token, mark in enumerate(marked):
        if not mark:
            continue
        if found and found[-1][1] == token:
            found[-1][1] = token + 1
        else:
            found.append([token, token + 1])
    return found


def kept_masks(value):
    masks = []
    for number, one in enumerate(value["pieces"]):
        kept = [True] * one["tokenCount"]
        for start, end in one["drops"]:
            kept[start:end] = [False] * (end - start)
        if value["dropFirst"] and number > 0:
            kept[0] = False
        masks.append(kept)
    return masks


def first_shares(rooms, budget):
    """Rounds: divided evenly among those with room, one more to the first of them."""
    shares = [0] * len(rooms)
    rest = min(budget, sum(rooms))
    while rest > 0:
        open_ones = [n for n in range(len(rooms)) if shares[n] < rooms[n]]
        each, extra = rest // len(open_ones), rest % len(open_ones)
        for order, n in enumerate(open_ones):
            gift = min(each + (1 if order < extra else 0), rooms[n] - shares[n])
            shares[n] += gift
            rest -= gift
    return shares


def recompute_masks(value, masks):
    rows = sum(sum(mask) for mask in masks)
    budget = (value["recomputePermille"] * rows + 999) // 1000
    chosen = [[False] * len(mask) for mask in masks]
    later = range(1, len(masks))
    if all(value["pieces"][n]["scores"] is not None for n in later):
        tokens = [(n, token) for n in later for token, kept in enumerate(masks[n]) if kept]
        tokens.sort(key=lambda where: -value["pieces"][where[0]]["scores"][where[1]])
        for n, token in tokens[:budget]:
            chosen[n][token] = True
        return chosen
    shares = first_shares([sum(masks[n]) for n in later], budget)
    for n, share in zip(later, shares):
        for token, kept in enumerate(masks[n]):
            if kept and share > 0:
                chosen[n][token] = True
                share -= 1
    return chosen


def plan_row(name, value):
    masks = kept_masks(value)
    chosen = recompute_masks(value, masks)
    position, row, placements = value["firstPosition"], 0, []
    for one, kept, again in zip(value["pieces"], masks, chosen):
        placements.append({
            "firstPosition": position, "firstRow": row,
            "dropped": ranges([not mark for mark in kept]), "recompute": ranges(again),
        })
        row += sum(kept)
        position += one["slot"] or one["tokenCount"]
    assert position <= value["positionLimit"] and all(any(mask) for mask in masks), name
    return {"name": name, "request": value, "rowCount": row, "endPosition": position,
            "recomputeTokens": sum(sum(again) for again in chosen), "placements": placements}


def plan_rows():
    few = [piece(5), piece(7), piece(6)]
    thirds = [piece(512), piece(512), piece(512)]
    scored = [piece(64), piece(64, scores=pseudo_scores(64, 1)),
              piece(40, scores=pseudo_scores(40, 2))]
    rows = [
        plan_row("one document", ask(piece(600))),
        plan_row("one token", ask(piece(1))),
        plan_row("one document moved on", ask(piece(600), first=1000)),
        plan_row("one document has nothing to recompute", ask(piece(600), permille=1000)),
        plan_row("three documents", ask(*few)),
        plan_row("three documents, first tokens kept", ask(*few, drop_first=False)),
        plan_row("three documents moved on", ask(*few, first=77)),
        plan_row("the last position", ask(*few, first=2**31 - 18)),
        plan_row("the last position of a context", ask(*few, first=2, limit=20)),
        plan_row("slots", ask(piece(5, 10), piece(7, 7), piece(6, 100))),
        plan_row("a slot for the last alone", ask(piece(5), piece(7), piece(6, 100))),
        plan_row("a slot as large as its document", ask(piece(16, 16), piece(16))),
        plan_row("an edit drops the first document's start", ask(piece(10, drops=[(0, 4)]),
                                                                 piece(10))),
        plan_row("drops of edits overlap", ask(piece(20, drops=[(8, 12), (2, 4), (3, 9)]),
                                               piece(20, drops=[(1, 3), (5, 6), (19, 20)]))),
        plan_row("a drop touches the first token", ask(piece(4), piece(9, drops=[(1, 4)]))),
        plan_row("a drop holds the first token", ask(piece(4), piece(9, drops=[(0, 4)]))),
        plan_row("one token is left", ask(piece(9, drops=[(0, 8)]), piece(2))),
        plan_row("drops in slots", ask(piece(9, 12, [(2, 3)]), piece(9, 9, [(4, 9)]))),
        plan_row("10 %", ask(*thirds, permille=100)),
        plan_row("15 %", ask(*thirds, permille=150)),
        plan_row("10 %, first tokens kept", ask(*thirds, permille=100, drop_first=False)),
        plan_row("1 permille is rounded up", ask(*few, permille=1)),
        plan_row("an odd budget", ask(*few, permille=150)),
        plan_row("100 %", ask(*few, permille=1000)),
        plan_row("100 %, first tokens kept", ask(*few, permille=1000, drop_first=False)),
        plan_row("a short document is full", ask(piece(100), piece(4), piece(100), permille=200)),
        plan_row("two short documents are full",
                 ask(piece(300), piece(4), piece(100), piece(9), permille=300)),
        plan_row("more budget than room", ask(piece(1000), piece(10), piece(20), permille=500)),
        plan_row("recompute over a drop", ask(piece(50), piece(50, drops=[(3, 7), (10, 11)]),
                                              permille=150)),
        plan_row("a large first document", ask(piece(70000), piece(30), permille=10)),
        plan_row("scores", ask(*scored, permille=100)),
        plan_row("scores, 50 %", ask(*scored, permille=500)),
        plan_row("scores, first tokens kept", ask(*scored, permille=150, drop_first=False)),
        plan_row("scores of the first document are not asked for",
                 ask(piece(8, scores=[9.0] * 8), piece(8, scores=pseudo_scores(8, 3)),
                     permille=300)),
        plan_row("scores of one document alone are not used",
                 ask(piece(8), piece(8, scores=pseudo_scores(8, 3)), piece(8), permille=300)),
        plan_row("equal scores: lower positions", ask(piece(8), piece(8, scores=[1.0] * 8),
                                                      piece(8, scores=[1.0] * 8), permille=400)),
        plan_row("zeros of both signs are equal",
                 ask(piece(8), piece(8, scores=[0.0, -0.0] * 4), permille=200)),
        plan_row("scores of what is dropped do not count",
                 ask(piece(8), piece(8, drops=[(4, 6)], scores=[99.0, 1, 2, 3, 98, 97, 4, 5]),
                     permille=300)),
        plan_row("64 documents", ask(*[piece(3)] * 64, permille=100)),
        plan_row("1024 ranges dropped", ask(piece(2050, drops=[(2 * n, 2 * n + 1)
                                                               for n in range(1024)]))),
    ]
    return rows


def invalid_rows():
    few = [piece(5), piece(7), piece(6)]

    def bad(name, field, value):
        return {"name": name, "request": value, "field": field}

    odd = [float(number % 2) for number in range(2100)]
    return [
        bad("no document", "count", ask()),
        bad("65 documents", "count", ask(*[piece(3)] * 65)),
        bad("1001 permille", "recomputePermille", ask(*few, permille=1001)),
        bad("a slot that is too small", "slot", ask(piece(5), piece(7, 6))),
        bad("a document without tokens", "tokenCount", ask(piece(5), piece(0))),
        bad("a later document of one token", "document", ask(piece(5), piece(1))),
        bad("edits leave nothing", "document", ask(piece(5, drops=[(0, 3), (3, 5)]))),
        bad("edits and the first token leave nothing", "document",
            ask(piece(5), piece(5, drops=[(1, 5)]))),
        bad("a span behind the end", "spans", ask(piece(5, drops=[(3, 6)]))),
        bad("an empty span", "spans", ask(piece(5, drops=[(3, 3)]))),
        bad("a span that ends before it starts", "spans", ask(piece(5, drops=[(4, 3)]))),
        bad("the first position is too large", "position", ask(*few, first=2**31)),
        bad("the last position is too large", "position", ask(*few, first=2**31 - 17)),
        bad("slots reach too far", "position", ask(piece(5, 2**31 - 1), piece(5))),
        bad("slots that overflow", "position", ask(*[piece(5, 2**32 - 1)] * 3)),
        bad("behind a model's context", "position", ask(*few, first=3, limit=20)),
        bad("the first position is behind a model's context", "position",
            ask(*few, first=20, limit=20)),
        bad("too few scores", "scores", ask(piece(5), piece(7, scores=[1.0] * 6))),
        bad("too many scores", "scores", ask(piece(5, scores=[1.0] * 6))),
        bad("1025 ranges dropped", "dropped",
            ask(piece(2052, drops=[(2 * n, 2 * n + 1) for n in range(1025)]))),
        bad("1025 ranges to recompute", "recompute",
            ask(piece(1), piece(2100, scores=odd), permille=488)),
    ]


def blend_sections():
    return {"plans": plan_rows(), "invalidPlans": invalid_rows()}
