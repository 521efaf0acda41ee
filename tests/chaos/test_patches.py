"""The proofs can fail: for each promise a small patch is kept that breaks it, and turns its test red.

| promise of the contract | broken by | attacked by |
|---|---|---|
| 1 complete, each once | `1-…` | `tests/dump/test_windows.py`, `test_green_means_complete.py`, `test_disguises.py`, `test_incomplete.py`, the machine, `tests/chaos/test_quirks.py` |
| 2 readers see one export | `2-…` | `tests/dump/test_readers.py`, `tests/dump/test_publishing.py`, the machine's invariant |
| 3 goes on where it stopped, folders apart | `3-…` | `tests/dump/test_resume.py`, `test_folders.py`, `test_kill.py`, `tests/chaos/test_kills.py` |
| 4 replaces, and forgets nothing | `4-…` | `tests/dump/test_carrying.py`, `test_parquet.py`, `test_schema.py`, `tests/chaos/test_two_at_once.py`, `tests/chaos/test_nights.py`, `tests/people`, `tests/dump/test_media.py`, the machine |
| 5 no overlap, no mixing | `5-…` | `tests/dump/test_publishing.py`, `tests/dump/test_values.py` |
| 6 memory | `6-…` | `tests/dump/test_values.py`, `test_parquet.py`, `tests/benchmarks/bench_memory.py` |
| 7 secrets and people | `7-…` | `tests/graph/test_media.py`, `tests/graph/test_client_secrets.py`, `tests/hooks/test_tokens.py`, `tests/operators/test_secrets.py`, `tests/secrets/test_leaks.py`, `tests/people`, the machine |
| 8 one sentence for what is wrong | `8-…` | `tests/operators/test_parameters.py` |
| 9 one pace for a task | `9-…` | `tests/graph/test_pace.py`, `tests/waiting/test_engine.py`, `tests/benchmarks/bench_pace.py` |

What the promises rest on: storage that fails (`tests/dump/test_storage.py`), answers that no one would expect (`tests/graph/test_any_answer.py`,
`tests/graph/test_client_patience.py`, `tests/dump/test_any_node.py`), ids as weapons (`tests/dump/test_weapons.py`).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PATCHES = Path(__file__).parent / "patches"

TURNS_RED = {
    "1-head-not-read-again": "tests/dump/test_windows.py::test_a_thread_that_jumps_between_two_pages_is_caught_by_reading_the_head_again",
    "1-heads-do-not-wait-for-all-lists": "tests/dump/test_green_means_complete.py::test_a_thread_that_comes_from_a_folder_that_is_walked_later_is_not_missed",
    "1-one-old-row-ends-the-walk": "tests/dump/test_windows.py::test_a_row_of_the_window_among_old_ones_makes_the_walk_begin_its_run_again",
    "1-the-future-is-a-goal": "tests/dump/test_green_means_complete.py::test_known_threads_that_jump_above_one_that_is_not_known_do_not_hide_it",
    "1-what-was-emptied-came-later": "tests/dump/test_green_means_complete.py::test_a_thread_whose_messages_were_all_unsent_stands_in_a_dump_whatever_its_time",
    "1-late-arrivals-are-passed": "tests/dump/test_green_means_complete.py::test_a_thread_that_lands_among_rows_that_were_read_is_not_missed",
    "1-short-lists-are-believed": "tests/dump/test_incomplete.py::test_messages_that_did_not_come_with_the_list_are_asked_for_at_the_thread_s_own_edge",
    "1-one-form-of-time": "tests/dump/test_incomplete.py::test_a_window_is_cut_alike_in_whatever_form_the_api_writes_its_times",
    "1-what-says-it-is-gone-is-gone": "tests/dump/test_disguises.py::test_a_spell_on_all_threads_that_ends_loses_nothing",
    "1-controls-are-not-heeded": "tests/dump/test_disguises.py::test_after_a_round_whose_second_control_is_refused_nothing_is_gone",
    "1-a-round-that-took-long-counts": "tests/dump/test_disguises.py::test_a_spell_that_comes_and_goes_between_the_controls_of_a_round_that_took_long_loses_nothing",
    "1-what-is-settled-late-is-not-written": "tests/dump/test_folders.py::test_the_record_of_a_thread_that_is_refused_while_all_wait_for_a_limit_is_in_the_files",
    "1-a-page-without-its-controls-is-at-its-limit": "tests/dump/test_disguises.py::test_where_all_that_gave_some_are_gone_the_list_shows_who_may_be_asked",
    "1-rows-that-come-again-end-a-thread": "tests/dump/test_lists.py::test_pages_of_a_thread_that_repeat_rows_while_it_is_read_again_lose_nothing",
    "1-what-lists-nothing-is-published": "tests/dump/test_empty.py",
    "1-a-refused-thread-ends-its-folder": "tests/dump/test_folders.py::test_a_parameter_or_permission_refused_for_one_thread_ends_that_thread",
    "1-another-products-usage-counts": "tests/dump/test_green_means_complete.py::test_another_product_s_usage_neither_slows_nor_ends_an_export",
    "1-a-4xx-that-cannot-be-read-is-final": "tests/dump/test_green_means_complete.py::test_a_4xx_that_cannot_be_read_passes",
    "1-a-limit-that-another-folder-met-is-none": "tests/dump/test_disguises.py::test_a_limit_that_another_folder_meets_says_nothing_of_this_one_s_threads",
    "1-the-fast-way-takes-what-is-undated": "tests/dump/test_fast.py",
    "1-the-fast-way-takes-messages-of-other-windows": "tests/dump/test_fast.py",
    "1-what-does-not-tell-where-it-ends-is-a-file": "tests/graph/test_media.py::test_an_answer_that_does_not_tell_where_it_ends_is_no_file",
    "1-slow-files-are-waited-for": "tests/dump/test_media.py::test_what_cannot_be_had_is_counted_with_its_reason_and_the_export_is_whole",
    "2-names-of-files-are-used-twice": "tests/dump/test_media.py::test_a_try_that_dies_while_it_publishes_leaves_nothing_behind",
    "3-files-that-came-are-fetched-again": "tests/dump/test_media.py::test_a_resumed_try_fetches_only_what_no_checkpoint_says",
    "4-files-of-what-is-carried-are-swept-up": "tests/dump/test_media.py::test_files_of_messages_that_are_gone_stay_with_them",
    "4-a-dead-link-forgets-what-was-there": "tests/dump/test_media.py::test_what_the_replaced_export_has_is_not_lost_to_a_dead_link",
    "5-files-are-dropped-by-who-asks-for-none": "tests/dump/test_media.py::test_an_export_without_files_may_get_them_and_not_the_other_way_round",
    "7-links-lead-anywhere": "tests/graph/test_media.py",
    "7-links-lead-to-private-addresses": "tests/graph/test_media.py",
    "7-redirects-are-followed": "tests/graph/test_media.py::test_what_is_wrong_with_a_file_is_its_reason",
    "7-links-in-debug-lines": "tests/graph/test_media.py::test_neither_an_error_nor_a_debug_line_shows_the_key_in_a_link",
    "7-files-of-who-is-left-out-are-fetched": "tests/dump/test_media.py::test_what_an_earlier_try_left_of_who_is_left_out_now_is_not_fetched",
    "2-files-go-before-the-manifest": "tests/dump/test_publishing.py::test_the_manifest_is_the_last_thing_before_the_sweeping_up",
    "2-the-files-of-others-are-swept-up": "tests/chaos/test_nights.py",
    "3-threads-still-to-be-read-are-forgotten": "tests/dump/test_resume.py::test_a_refusal_at_any_call_costs_that_call_and_nothing_else",
    "3-what-waits-is-not-made-safe": "tests/dump/test_kill.py::test_killed_while_a_call_hangs_it_keeps_what_was_fetched_before",
    "3-what-is-published-at-once-is-not-safe": "tests/dump/test_publishing.py::test_on_kill_between_the_walk_and_the_manifest_nothing_is_published",
    "3-one-folder-ends-all": "tests/dump/test_folders.py::test_a_folder_that_is_refused_lets_the_others_publish_and_is_named",
    "3-killed-tries-publish": "tests/dump/test_publishing.py::test_on_kill_between_the_walk_and_the_manifest_nothing_is_published",
    "3-superseded-tries-go-on": "tests/dump/test_publishing.py::test_a_try_that_is_superseded_while_it_publishes_puts_no_manifest",
    "3-lists-go-on-without-end": "tests/dump/test_lists.py::test_a_list_that_goes_on_without_end_over_known_rows_ends_with_a_sentence",
    "4-what-is-forgotten-is-lost": "tests/dump/test_carrying.py::test_thirty_nightly_dumps_hold_every_message_once_and_lose_no_detail",
    "4-bare-ids-replace-details": "tests/dump/test_carrying.py::test_thirty_nightly_dumps_hold_every_message_once_and_lose_no_detail",
    "4-what-is-gone-stays": "tests/dump/test_carrying.py::test_unsent_messages_leave_where_what_is_deleted_is_not_kept",
    "4-what-was-not-looked-for-leaves": "tests/dump/test_carrying.py::test_a_folder_that_comes_back_empty_drops_nothing",
    "4-a-bare-id-stands-in-two-windows": "tests/dump/test_carrying.py::test_a_backfill_after_the_daily_windows_writes_no_bare_id_that_they_hold",
    "4-anothers-export-is-overwritten": "tests/dump/test_carrying.py::test_two_that_publish_the_same_window_keep_each_others",
    "4-what-was-swept-up-is-damage": "tests/dump/test_carrying.py::test_files_that_another_sweeps_up_while_they_are_read_are_read_again_from_what_it_published",
    "4-what-came-later-is-gone": "tests/dump/test_carrying.py::test_what_another_fetched_after_this_one_had_read_the_thread_is_not_gone",
    "4-what-turned-out-to-be-later-is-gone": "tests/dump/test_carrying.py::test_a_bare_id_of_a_backfill_stays_when_it_turns_out_to_be_of_a_later_day",
    "4-an-erasure-is-undone": "tests/dump/test_carrying.py::test_an_erasure_between_the_reading_and_the_put_is_not_undone",
    "4-notes-of-another-predecessor-are-taken": "tests/chaos/test_nights.py",
    "4-what-an-earlier-try-was-told-to-keep-stays": "tests/dump/test_carrying.py::test_the_try_that_publishes_says_whether_what_is_gone_stays",
    "4-an-empty-list-drops-what-is-gone": "tests/chaos/test_nights.py",
    "4-a-list-that-is-none-is-lost": "tests/dump/test_arrow.py::test_any_messages_among_ordinary_ones",
    "4-what-does-not-fit-is-lost": "tests/dump/test_schema.py::test_what_a_column_does_not_tell_stands_whole_in_extra",
    "4-what-is-carried-keeps-its-format": "tests/dump/test_parquet.py::test_what_is_carried_is_written_in_the_new_format_with_the_same_values",
    "4-columns-of-another-version-are-taken": "tests/dump/test_parquet.py::test_columns_of_an_unknown_version_are_refused_before_the_first_call",
    "4-another-secret-is-let-in": "tests/people/test_pseudonyms.py::test_to_replace_an_export_that_hides_people_differently_is_refused",
    "4-what-was-staged-keeps-who-is-left-out": "tests/people/test_left_out.py::test_who_is_named_only_by_a_later_try_is_not_published_either",
    "4-who-is-left-out-is-carried-over": "tests/people/test_left_out.py::test_what_is_carried_over_is_filtered",
    "4-what-an-earlier-try-carried-keeps-who-is-left-out": "tests/people/test_left_out.py::test_killed_while_it_carries_over_it_takes_in_a_list_that_grew",
    "5-overlaps-are-let-in": "tests/dump/test_publishing.py::test_an_overlap_that_came_up_meanwhile_is_refused_before_publishing",
    "5-asking-for-less-is-let-in": "tests/dump/test_carrying.py::test_an_export_that_asks_for_less_is_refused_before_the_first_call",
    "6-buckets-that-hold-one-id": "tests/dump/test_values.py::test_an_id_costs_no_more_than_32_bytes_to_remember",
    "6-row-groups-without-end": "tests/dump/test_parquet.py::test_row_groups_end_with_so_many_records_or_bytes",
    "7-paging-stays-in-records": "tests/graph/test_any_answer.py",
    "7-paging-stays-in-records-of-the-fast-way": "tests/dump/test_fast.py",
    "7-proof-in-debug-lines": "tests/graph/test_client_secrets.py::test_the_debug_lines_of_the_libraries_hold_no_secret",
    "7-proof-in-the-context-of-errors": "tests/graph/test_client_secrets.py",
    "7-tokens-in-debug-lines": "tests/hooks/test_tokens.py::test_no_log_shows_any_of_the_tokens",
    "7-exchanged-tokens-are-not-masked": "tests/hooks/test_tokens.py::test_a_token_that_was_exchanged_when_it_was_needed_is_masked",
    "7-people-wait-as-they-came": "tests/people/test_pseudonyms.py::test_nobody_is_readable_at_any_instant_and_everybody_has_one_value",
    "7-people-in-unknown-fields-are-readable": "tests/people/test_pseudonyms.py::test_nobody_is_readable_at_any_instant_and_everybody_has_one_value",
    "7-people-who-are-named-are-shown": "tests/people/test_named.py::test_what_airflow_keeps_of_a_dag_tells_how_many_ids_there_are_and_no_more",
    "7-the-pseudonym-secret-is-not-masked": "tests/people/test_named.py::test_the_secret_is_masked_and_in_no_repr",
    "2-what-is-about-to-be-published-is-swept-up": "tests/people/test_erasure.py::test_an_export_that_is_publishing_keeps_its_files",
    "2-windows-that-are-too-old-lose-files-first": "tests/people/test_retention.py::test_killed_anywhere_readers_see_a_window_whole_or_not_at_all",
    "4-an-erasure-overwrites-what-came-meanwhile": "tests/people/test_erasure.py::test_what_another_publishes_meanwhile_is_not_lost",
    "7-an-erasure-looks-once": "tests/people/test_erasure.py::test_an_export_that_publishes_meanwhile_is_erased_too",
    "7-what-a-kill-has-left-of-the-erased-stays": "tests/people/test_erasure.py::test_killed_anywhere_it_leaves_one_whole_export_and_nothing_that_is_not_found",
    "7-threads-of-the-erased-are-judged-by-one-window": "tests/people/test_erasure.py::test_a_thread_in_which_others_write_too_in_one_window_stays_theirs_in_all",
    "7-hashed-ids-of-the-erased-stay": "tests/people/test_erasure.py::test_what_stays_is_what_an_export_without_them_holds",
    "7-files-of-the-erased-stay": "tests/people/test_erasure.py::test_files_of_messages_that_go_go_with_them",
    "7-another-secret-finds-nobody-and-says-nothing": "tests/people/test_erasure.py::test_another_secret_is_named_and_all_else_is_done",
    "7-who-is-erased-is-shown": "tests/people/test_rights.py::test_what_airflow_keeps_of_a_dag_tells_how_many_ids_there_are_and_no_more",
    "7-what-is-too-old-stays-in-dumps": "tests/people/test_retention.py::test_of_what_has_no_first_moment_the_older_messages_go",
    "8-empty-windows-are-let-in": "tests/operators/test_parameters.py",
    "9-calls-keep-no-pace": "tests/waiting/test_engine.py",
}


def run(tree: Path, test: str) -> subprocess.CompletedProcess[str]:
    """Run a test in a copy of the tree; what is imported is the copy, and histories are those of an ordinary run."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PAGECONV_CHAOS_")}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", test],
        cwd=tree,
        env={**environment, "PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_every_patch_has_its_test_and_still_fits() -> None:
    """None is kept without being used, and none is for lines that are no more."""
    assert {path.stem for path in PATCHES.glob("*.patch")} == set(TURNS_RED)
    for path in PATCHES.glob("*.patch"):
        subprocess.run(["git", "apply", "--check", path], cwd=REPOSITORY, check=True)


@pytest.mark.chaos
@pytest.mark.parametrize("name", sorted(TURNS_RED))
def test_a_broken_promise_turns_its_test_red(name: str, tmp_path: Path) -> None:
    """Green as the tree is, red with the patch, by a failed test and not by an error."""
    tree = tmp_path / "tree"
    ignored = shutil.ignore_patterns(".*", "__pycache__", "build", "dist")
    shutil.copytree(REPOSITORY, tree, ignore=ignored)
    good = run(tree, TURNS_RED[name])
    assert good.returncode == 0, good.stdout
    with (PATCHES / f"{name}.patch").open("rb") as patch:
        subprocess.run(["git", "apply"], cwd=tree, stdin=patch, check=True)
    broken = run(tree, TURNS_RED[name])
    assert broken.returncode == 1, broken.stdout
    assert "FAILED" in broken.stdout
    assert "\nERROR tests" not in broken.stdout
