//! The log as a whole: what its users do, what its disk does to it, and what must be true afterwards.
//!
//! What must hold whichever store the log is on is listed in [`all`]; it runs on SQLite here and on PostgreSQL where that is
//! started, in the acceptance tests (feature `testing`). What is about files stands beside it and runs here alone.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "these are tests, for two crates")]

pub mod appending;
pub mod checking;
pub mod clock;
pub mod crashing;
pub mod erasing;
pub mod failing;
pub mod harness;
pub mod incarnating;
pub mod indexing;
pub mod proving;
pub mod pruning;
pub mod publishing;
pub mod querying;
pub mod rotating;
pub mod stand;
#[cfg(test)]
mod surviving;
pub mod vanishing;

use stand::Stand;
use std::pin::Pin;

/// Panics where something does not hold. One thread runs it.
pub type Test = for<'s> fn(&'s Stand) -> Pin<Box<dyn Future<Output = ()> + 's>>;

macro_rules! on_every_store {
    ($($group:ident: $($name:ident)*;)*) => {
        /// Everything that must hold for a log on any store, by name.
        pub fn all() -> Vec<(&'static str, Test)> {
            vec![$($((concat!(stringify!($group), "::", stringify!($name)), |stand| Box::pin($group::$name(stand)))),*),*]
        }

        #[cfg(test)]
        mod on_sqlite {
            $(mod $group {
                $(#[tokio::test]
                async fn $name() {
                    crate::tests::$group::$name(&crate::tests::stand::Stand::Sqlite).await;
                })*
            })*
        }
    };
}

on_every_store! {
    appending:
        what_is_appended_is_there_after_reopening
        many_callers_at_once_leave_no_gap
        what_belongs_to_an_entry_becomes_durable_with_it
        an_outcome_for_a_decision_that_is_not_open_is_refused
        a_second_opener_is_refused
        an_outcome_goes_along_with_the_next_decision_and_is_written_without_one_too;
    checking:
        a_sound_log_has_no_findings
        damage_of_the_store_is_found_where_it_is
        a_careful_forger_is_found_by_the_next_checkpoint
        damage_of_published_files_is_found_where_it_is
        a_store_that_was_set_back_is_found_by_what_is_published
        what_a_start_says_that_it_found_is_held_against_the_log;
    crashing:
        a_log_that_was_dropped_is_recovered
        a_damaged_tail_is_not_continued;
    erasing:
        whoever_is_erased_leaves_nothing_behind_and_nobody_else_loses_anything
        what_was_under_way_when_somebody_was_erased_is_not_written
        a_fault_at_any_step_leaves_no_value_gone_without_its_entry
        a_disclosure_that_was_altered_or_removed_without_an_erasure_is_found
        an_erasure_that_did_not_erase_or_is_hidden_is_found
        a_salt_that_is_used_again_is_found
        a_widened_erasure_excuses_nothing
        a_request_that_was_made_for_another_person_excuses_nothing_in_a_store
        a_legal_hold_outlives_the_erasure_of_whoever_took_part_in_the_same_entries
        whoever_is_on_hold_by_now_is_not_erased
        a_request_that_two_approve_at_once_is_carried_out_once_and_not_on_whoever_came_back
        one_entry_of_a_clock_that_was_ahead_does_not_end_retention
        an_erasure_of_what_is_not_there_poisons_the_log_rather_than_lie
        a_request_whose_name_has_gone_by_age_still_knows_whom_it_is_about
        values_go_by_age_as_the_policy_says_and_those_on_hold_stay;
    failing:
        a_proven_rollback_is_told_and_serving_goes_on
        what_is_not_proven_poisons
        a_rollback_that_cannot_be_proven_poisons
        a_checkpoint_that_cannot_be_kept_is_not_published
        outcomes_wait_until_there_is_room
        closing_gives_up_on_a_log_that_cannot_be_written
        a_head_that_somebody_moved_poisons
        whoever_is_erased_is_not_written_again_while_the_erasure_may_yet_be_written;
    incarnating:
        the_first_entry_cites_the_old_log_and_no_later_one_does
        what_does_not_fit_is_refused_and_no_log_begins_without_it;
    indexing:
        what_is_read_from_the_store_by_an_index_is_what_a_reader_of_everything_finds
        the_index_of_another_log_or_of_nothing_is_built_anew
        a_log_that_cannot_be_read_for_a_moment_does_not_cost_its_index
        a_log_that_cannot_be_read_takes_its_index_from_nobody
        a_question_that_began_with_an_index_which_was_replaced_is_answered_and_harms_nothing
        two_do_not_write_one_index
        an_open_log_keeps_its_index_and_lets_go_of_it
        organisations_that_a_stranger_makes_up_do_not_fill_the_index
        refused_readings_are_counted_by_what_they_were_to_read;
    proving:
        a_request_is_looked_for_around_its_time_and_its_outcome_where_there_is_one;
    pruning:
        what_is_old_enough_goes_and_everything_else_stays_what_it_was
        what_must_be_kept_holds_back_what_is_behind_it
        what_later_entries_depend_on_is_carried_forward
        what_is_gone_leaves_no_residue_in_any_file_or_row
        the_database_lets_nothing_go_that_no_entry_speaks_of
        files_that_a_crash_left_go_with_the_next_start
        whoever_comes_back_during_a_pruning_is_not_forgotten
        an_index_of_a_log_that_was_pruned_is_built_anew_and_gives_the_same_answers
        a_hold_and_a_damaged_entry_stop_a_pruning_before_them
        whatever_is_pruned_of_some_lives_the_rest_stays
        entries_that_nobody_said_are_gone_are_missed
        what_is_said_of_a_pruning_and_is_not_so_is_found
        published_files_of_a_pruned_log_are_built_again_from_its_store
        hashes_that_are_not_those_that_were_published_take_no_entrys_place
        a_request_of_which_nothing_is_kept_is_not_called_unknown
        a_pruning_that_no_broker_would_have_written_is_not_signed_and_nothing_published_goes_by_it
        a_pruning_by_another_policy_than_is_configured_is_not_signed
        a_pruning_that_is_not_what_was_signed_is_not_believed
        a_clock_that_was_set_ahead_prunes_nothing
        a_start_long_after_the_last_entry_prunes_nothing_until_it_is_confirmed
        what_is_left_of_a_row_is_its_end_and_nothing_else
        nobody_goes_from_the_directory_uncounted
        a_pruning_that_would_be_faulty_is_not_written
        a_store_of_which_all_entries_are_missing_does_not_open
        files_that_a_published_pruning_promises_stay_while_the_next_one_is_written
        a_pruning_that_is_broken_off_keeps_what_entries_behind_it_need
        prunings_that_somebody_changes_in_the_store_meanwhile_are_not_gone_by
        a_pruning_is_not_judged_by_a_clock_that_is_doubted
        a_pruning_by_a_clock_that_was_a_little_ahead_is_waited_for
        entries_of_a_month_go_from_a_midnight_on_and_not_a_millisecond_before
        however_many_exchanges_reach_over_every_end_of_a_bundle_entries_go
        however_often_policies_change_those_in_force_and_those_asked_behind_are_carried_forward
        a_pruning_that_leaves_policies_out_by_which_was_decided_behind_is_not_signed
        rows_of_entries_that_no_pruning_carries_forward_count_for_nothing
        what_stands_in_the_place_of_an_entry_that_is_carried_forward_is_not_published_or_believed;
    publishing:
        what_is_published_can_be_verified_from_the_files_alone
        what_is_not_published_yet_is_no_damage
        publishing_goes_on_after_a_restart
        files_that_are_gone_are_built_again
        a_doctored_store_takes_nothing_from_what_is_published
        whoever_copies_while_the_log_grows_finds_all_that_its_checkpoint_needs
        a_failed_round_is_made_up_for
        nothing_is_signed_over_a_store_that_changed
        nothing_is_signed_that_somebody_else_put_into_the_store
        a_key_signs_for_its_own_log_only;
    querying:
        a_search_finds_what_a_reader_of_everything_finds
        who_acted_for_somebody_is_found_too
        principals_are_found_and_named_through_the_directory
        a_tail_sees_what_comes_and_ends_with_the_log;
    rotating:
        a_new_key_is_announced_signs_beside_the_old_one_and_then_alone
        a_key_that_was_not_announced_does_not_sign
        a_key_that_was_retired_does_not_come_back
        a_key_is_announced_before_it_signs_also_when_the_process_ends_in_between
        a_key_that_was_announced_is_withdrawn_by_name
        a_key_that_nobody_here_has_is_retired_before_it_counts
        an_announcement_that_was_signed_is_found_in_a_store_of_before_too
        an_announcement_before_the_first_checkpoint_is_not_forgotten
        what_no_broker_says_of_keys_is_not_signed
        one_key_has_one_place;
    vanishing:
        a_permission_nobody_waits_for_is_not_written
        a_caller_gone_during_the_commit_leaves_a_decision_not_forwarded
        a_caller_gone_after_the_commit_leaves_a_decision_not_forwarded
        a_full_queue_is_told_at_once
        a_log_that_is_idle_says_that_it_lives
        large_entries_are_spread_over_batches;
}

#[cfg(test)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_callers_on_several_threads_leave_no_gap() {
    appending::many_callers_at_once_leave_no_gap(&Stand::Sqlite).await;
}
