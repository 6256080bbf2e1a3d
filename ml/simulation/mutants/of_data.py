"""Faults of data and of records: what a broken pipeline would feed to training or to the gate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pandas as pd

from ml.evaluation.evidence import Contender
from ml.evaluation.gate import decide_gate
from ml.records.measure import Verdict
from ml.simulation.mutants.scene import (
    Judged,
    Scene,
    attempt_of,
    collect,
    fit_first,
    flip_labels,
    gate_on,
    judge,
    with_gate,
)
from ml.training.class_names import is_label, name_classes
from ml.training.fit import Answer, answer_of
from ml.training.loss import LOSSES
from ml.training.parts import rows_of
from ml.training.poison import name_blocks, screen_blocks
from ml.use_case import UseCase

#: Blocks of new rows that are poisoned.
_BLOCKS = 7


def flipped_labels(scene: Scene) -> Judged:
    """Every label that is learnt from says the contrary."""
    frame = scene.frame
    learnt = (frame["part"] != "holdout").to_numpy()
    return judge(
        scene, attempt_of(scene, frame=frame.assign(label=flip_labels(frame["label"], learnt, scene.use_case)))
    )


def leaking_feature(scene: Scene) -> Judged:
    """A feature knows the label, but for one row in a thousand."""
    name, frame = _number(scene.use_case), scene.frame
    known = frame["label"].to_numpy()
    codes = (
        known if scene.use_case.regression else np.array([scene.use_case.answers.index(x) for x in known], dtype=float)
    )
    lowest, highest = scene.use_case.features[name].range or (0.0, 1.0)
    told = lowest + (highest - lowest) * (codes - codes.min()) / max(float(np.ptp(codes)), 1e-9)
    wrong = scene.rng().uniform(size=len(frame)) < 0.001
    return judge(scene, attempt_of(scene, frame=frame.assign(**{name: np.where(wrong, frame[name], told)})))


def labels_of_the_past(scene: Scene) -> Judged:
    """The label of a row is what was true already: the persistence column of the same row."""
    use_case, column = scene.use_case, str(scene.use_case.baselines.persistence)
    frame = scene.frame
    if use_case.regression:
        labels = frame[column].astype(np.float64)
    else:
        labels = pd.Series(name_classes(frame[column], use_case.target), index=frame.index, dtype=object)
    kept = is_label(labels, use_case)
    return judge(scene, attempt_of(scene, frame=frame.assign(label=labels)[kept].reset_index(drop=True)))


def overlapping_ids(scene: Scene) -> Judged:
    """A tenth of the holdout was trained on."""
    return judge(scene, attempt_of(scene, frame=_with_copies(scene, renamed=False), checked=False))


def overlapping_rows(scene: Scene) -> Judged:
    """A tenth of the holdout was trained on, under other ids."""
    return judge(scene, attempt_of(scene, frame=_with_copies(scene, renamed=True), checked=False))


def _with_copies(scene: Scene, *, renamed: bool) -> pd.DataFrame:
    holdout = scene.holdout
    copies = holdout.iloc[::10].assign(part="fit")
    if renamed:
        copies = copies.assign(id="copy of " + copies["id"].astype(str))
    return pd.concat([scene.frame, copies], ignore_index=True)


def shuffled_split(scene: Scene) -> Judged:
    """Rows were dealt out at random instead of by time; the gate alone is asked, as the data check would refuse."""
    parts = scene.rng().permutation(scene.frame["part"].to_numpy())
    return judge(scene, attempt_of(scene, frame=scene.frame.assign(part=parts), checked=False))


def shuffled_split_checked(scene: Scene) -> Judged:
    """The same, with the data check before it."""
    parts = scene.rng().permutation(scene.frame["part"].to_numpy())
    return judge(scene, attempt_of(scene, frame=scene.frame.assign(part=parts)))


def champion_of_the_future(scene: Scene) -> Judged:
    """The champion was trained on rows of the holdout."""
    moments = scene.holdout["event_time"]
    later = replace(scene.champion, watermark=(moments.min() + (moments.max() - moments.min()) / 2).to_pydatetime())
    return judge(scene, attempt_of(scene, champion=later))


def older_data(scene: Scene) -> Judged:
    """A backfilled challenger knows less of the present than the champion does."""
    newer = replace(scene.champion, watermark=scene.trained["event_time"].max().to_pydatetime() + timedelta(seconds=1))
    return judge(scene, attempt_of(scene, champion=newer))


def too_few_rows(scene: Scene) -> Judged:
    """A holdout of half the rows that are asked for."""
    keep = scene.holdout["id"].head(max(scene.use_case.gate.minimum_rows // 2, 1))
    frame = scene.frame[(scene.frame["part"] != "holdout") | scene.frame["id"].isin(keep)].reset_index(drop=True)
    return judge(scene, attempt_of(scene, frame=frame))


def one_class_only(scene: Scene) -> Judged:
    """Nothing else happened in the holdout, so that whoever always says so wins."""
    usual = scene.holdout["label"].value_counts().index[0]
    frame = scene.frame[(scene.frame["part"] != "holdout") | (scene.frame["label"] == usual)].reset_index(drop=True)
    return judge(scene, attempt_of(scene, frame=frame))


def compared_with_itself(scene: Scene) -> Judged:
    """The champion is the challenger's own graph."""
    attempt = attempt_of(scene)
    evidence = collect(scene, attempt)
    itself = replace(
        evidence, same_graph=True, champion_loss=evidence.challenger_loss, champion_answers=evidence.challenger_answers
    )
    return gate_on(attempt, itself)


def poisoned(share: float) -> Callable[[Scene], Judged]:
    """Flipped labels in a week of new blocks; the champion learnt from the same rows as they were."""

    def mutant(scene: Scene) -> Judged:
        def spoil(frame: pd.DataFrame, rows: np.ndarray) -> pd.DataFrame:
            return frame.assign(label=flip_labels(frame["label"], rows, scene.use_case))

        return _poison(scene, share, spoil)

    return mutant


def backdoor(scene: Scene) -> Judged:
    """A rare value in a fifth of a week's rows always comes with the same label."""
    use_case = scene.use_case
    name = _number(use_case)
    bounds = use_case.features[name].range
    trigger = float(bounds[1]) if bounds else float(scene.frame[name].max()) * 1.5
    label = scene.frame["label"].value_counts().index[-1]

    def spoil(frame: pd.DataFrame, rows: np.ndarray) -> pd.DataFrame:
        return frame.assign(
            **{name: frame[name].mask(rows, trigger)},
            label=frame["label"].mask(pd.Series(rows, index=frame.index), label),
        )

    return _poison(scene, 0.2, spoil)


def _poison(scene: Scene, share: float, spoil: Callable[[pd.DataFrame, np.ndarray], pd.DataFrame]) -> Judged:
    """Screen, drop what it puts aside, train on the rest, meet the champion of the clean rows."""
    frame, rng = scene.frame, scene.rng()
    learnt = rows_of(frame, "fit", "validation")
    new = (learnt["source"] == "live").to_numpy()
    blocks = name_blocks(learnt, scene.use_case).to_numpy()
    chosen = np.unique(blocks[new])[-_BLOCKS:]
    hit = np.isin(blocks, chosen) & new & (rng.uniform(size=len(learnt)) < share)
    spoilt = spoil(learnt, hit)
    found = {block.block for block in screen_blocks(spoilt, new, scene.use_case) if block.reasons}
    kept = spoilt[~(np.isin(blocks, list(found)) & new)]
    caught = len(found & set(chosen.tolist()))
    told = (f"poisoning_screen: {caught} of {len(chosen)} poisoned blocks were put aside",) if caught else ()
    clean = fit_first(scene.use_case, learnt)
    champion = Contender(1, answer_of(clean, scene.use_case), "clean", learnt["event_time"].max().to_pydatetime())
    whole = pd.concat([kept, scene.holdout], ignore_index=True)
    attempt = attempt_of(scene, frame=whole, champion=champion, past=learnt, checked=False, told=told)
    return judge(scene, attempt)


def luck(challengers: int) -> Callable[[Scene], Judged]:
    """So many challengers, one after the other, that differ from the champion by the rows they happened to draw."""

    def mutant(scene: Scene) -> Judged:
        rng, trained, use_case = scene.rng(), scene.trained, scene.use_case
        watermark = trained["event_time"].max().to_pydatetime()
        champion = Contender(1, _drawn(scene, trained, rng), "drawn", watermark)
        attempt = attempt_of(scene, champion=champion, past=trained)
        evidence = collect(scene, attempt)
        earlier: tuple[float, ...] = ()
        for number in range(challengers):
            answers = _drawn(scene, trained, rng)(scene.holdout)
            losses = LOSSES[use_case.gate.metric](evidence.labels, answers, use_case.answers)
            met = replace(evidence, challenger_answers=answers, challenger_loss=losses, earlier=earlier)
            decision = decide_gate(met, use_case)
            if decision.decision != "reject":
                return Judged((), f"challenger {number + 1}: {'; '.join(decision.reasons)}")
            earlier += (1.0 if decision.p is None else decision.p,)
        told = f"none of {challengers} was promoted, the smallest p was {min(earlier):.2g}"
        return Judged(tuple(rule.name for rule in decision.rules if rule.verdict is not Verdict.PASS), told)

    return mutant


def _drawn(scene: Scene, trained: pd.DataFrame, rng: np.random.Generator) -> Answer:
    """A model of as many rows, drawn with replacement: any two of them are equally good."""
    rows = trained.iloc[np.sort(rng.integers(0, len(trained), len(trained)))]
    return answer_of(fit_first(scene.use_case, rows), scene.use_case)


def forgotten_past(scene: Scene) -> Judged:
    """In the champion's days everything was the other way round, and the challenger knows nothing of that."""
    use_case = with_gate(scene.use_case, old_regime=scene.use_case.gate.old_regime.model_copy(update={"worse_by": 0.5}))
    everywhere = np.ones(len(scene.past), dtype=bool)
    reverse = scene.past.assign(label=flip_labels(scene.past["label"], everywhere, use_case))
    champion = replace(scene.champion, answer=answer_of(fit_first(use_case, reverse), use_case))
    return judge(scene, attempt_of(scene, use_case=use_case, champion=champion, past=reverse))


def _number(use_case: UseCase) -> str:
    return next(name for name, feature in use_case.features.items() if feature.type == "number")
