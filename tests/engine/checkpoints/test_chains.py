"""Chains of checkpoint files: which lead to a state, and which must be kept."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from eventstore.checkpoints.chains import Chains, CheckpointFile, must_keep
from eventstore.maintenance.compaction import is_fold_due, plan


def base(revision: int) -> CheckpointFile:
    return CheckpointFile(revision, None, f"{revision}.ckpt")


def delta(revision: int, previous: int) -> CheckpointFile:
    return CheckpointFile(revision, previous, f"{revision}-{previous}.delta")


def test_a_base_is_taken_before_a_delta_to_the_same_revision() -> None:
    chains = Chains([base(1), delta(2, 1), delta(3, 2), base(3), delta(4, 3)])
    assert chains.revisions == [1, 2, 3, 4]
    assert chains.to(4) == [base(3), delta(4, 3)]
    assert chains.to(2) == [base(1), delta(2, 1)]


def test_a_delta_that_continues_nothing_leads_nowhere() -> None:
    chains = Chains([delta(2, 1), delta(3, 2), base(5)])
    assert chains.revisions == [5]


def test_batches_are_kept_from_the_state_that_shares_no_file_with_the_newest() -> None:
    assert must_keep([]).fallback == 0
    assert must_keep([base(1)]).fallback == 0
    assert must_keep([base(1), delta(2, 1), delta(3, 2)]).fallback == 0
    assert must_keep([base(1), base(9)]).fallback == 1
    assert must_keep([base(1), delta(2, 1), base(9), delta(10, 9)]).fallback == 2
    # The deltas that were folded into a base lead to the same state as it.
    assert must_keep([base(1), delta(2, 1), base(2), delta(3, 2)]).fallback == 2


@st.composite
def histories(draw: st.DrawFn) -> list[str]:
    return draw(st.lists(st.sampled_from(["base", "delta", "fold", "compact"]), max_size=25))


@given(histories())
def test_any_one_file_may_be_damaged_and_a_state_behind_which_batches_are_kept_is_left(
    steps: list[str],
) -> None:
    files: list[CheckpointFile] = []
    revision = oldest = 0
    for step in steps:
        if step == "base" or (step == "delta" and not Chains(files).revisions):
            revision += 10
            files.append(base(revision))
        elif step == "delta":
            files.append(delta(revision + 10, revision))
            revision += 10
        elif step == "fold" and files:
            files.append(base(revision))
            files = list(dict.fromkeys(files))
        elif step == "compact":
            going = plan(files, list(range(1, revision + 7, 5)))
            assert going.segments == tuple(sorted(going.segments))
            files = [file for file in files if file not in going.checkpoints]
            oldest = max([oldest, *(first + 5 for first in going.segments)])
        newest = Chains(files).revisions[-1] if files else 0
        assert newest == revision
        for damaged in files:
            left = Chains(file for file in files if file != damaged).revisions
            assert oldest <= (left[-1] if left else 0) + 1


def test_a_chain_is_folded_once_it_has_many_deltas_or_much_in_them() -> None:
    chain = [base(1), *(delta(number + 1, number) for number in range(1, 9))]
    sizes = dict.fromkeys(chain, 10) | {chain[0]: 1000}
    assert not is_fold_due(chain, sizes)
    longer = [*chain, delta(10, 9)]
    assert is_fold_due(longer, sizes | {longer[-1]: 10})
    assert is_fold_due(chain, sizes | {chain[3]: 500})
