//! One suite of claims that every back end of the store has to pass.
//!
//! A back end's test is three lines; the factory gives a fresh, empty store each time:
//!
//! ```
//! # use dauer_store::{Sqlite, conformance};
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! conformance::run(async || Sqlite::memory().unwrap()).await;
//! # });
//! ```
//!
//! A claim that does not hold panics; its name is printed before it is tried.

mod access;
mod at_once;
mod belongings;
mod beside;
mod cache;
pub(crate) mod checking;
mod compare;
mod definitions;
mod fencing;
mod finding;
mod history;
mod leases;
mod ledger;
mod many;
pub mod model;
mod moving;
mod notices;
mod own;
mod policy;
mod queues;
mod requests;
pub(crate) mod sample;
mod schedule;
mod schedules;
mod snapshots;
mod versions;

use crate::Store;
use model::{Model, Op};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// So many random writes are compared with the model.
const RANDOM_WRITES: usize = 10_000;

/// The model and the store are compared whole after so many of them.
const WRITES_BETWEEN_COMPARISONS: usize = 250;

/// Where there are very many.
const WRITES_BETWEEN_COMPARISONS_OF_MANY: usize = 2_500;

macro_rules! claims {
    ($factory:ident: $($module:ident::$claim:ident,)*) => {
        $(
            println!("claim: {}", stringify!($claim).replace('_', " "));
            $module::$claim(Arc::new($factory().await)).await;
        )*
    };
}

/// Tries every claim, each on a store of its own.
pub async fn run<S: Store>(factory: impl AsyncFn() -> S) {
    claims!(factory:
        versions::what_was_created_is_read_back_whole,
        versions::an_id_is_taken_once,
        versions::of_two_writers_one_wins,
        versions::a_conflict_writes_nothing,
        versions::an_unknown_job_is_not_found,
        versions::concurrent_commits_are_unique_and_dense,
        versions::a_failed_write_leaves_its_neighbours_alone,
        versions::the_journal_has_the_order_of_commits_and_the_state_after,
        versions::the_journal_comes_in_pages,
        finding::names_are_unique_among_kept_jobs_and_free_after,
        finding::one_of_many_gets_the_name,
        finding::an_id_beats_a_name_beats_a_beginning,
        finding::a_text_with_wildcards_finds_nothing,
        finding::pages_lose_and_repeat_nothing_while_jobs_are_added,
        finding::pages_of_some_states_are_in_order,
        finding::a_sandbox_has_one_owner,
        finding::jobs_are_found_by_their_tags_and_by_their_name,
        requests::all_jobs_of_a_batch_are_added_or_none,
        requests::a_job_is_added_with_its_first_change_or_not_at_all,
        requests::some_of_many_new_jobs_begin_with_them,
        requests::of_many_equal_requests_with_a_key_one_makes_the_job,
        requests::a_key_lives_as_long_as_its_job,
        requests::parameters_are_read_with_the_job_and_not_with_lists,
        many::many_changes_are_written_in_their_order,
        many::of_many_changes_those_that_are_refused_leave_the_others,
        many::many_records_come_in_the_order_asked_for,
        definitions::a_definition_is_read_as_it_was_registered_and_never_written_over,
        definitions::definitions_come_in_pages_by_name_and_version,
        definitions::a_removed_definition_is_gone_and_may_come_again,
        schedule::due_jobs_come_by_priority_then_the_earliest_first,
        schedule::only_what_waits_without_an_operation_is_due,
        schedule::a_new_job_is_due_at_once_or_at_its_time,
        schedule::unsettled_is_what_recovery_has_to_look_at,
        queues::what_a_queue_holds_back_is_not_due,
        queues::who_waits_and_who_sleeps_is_counted_by_queue,
        queues::the_settings_of_a_queue_stay_until_they_are_removed,
        queues::turns_are_kept_with_the_commit_and_as_long_as_it_says,
        queues::of_many_equal_unique_jobs_one_is_made,
        queues::a_job_stands_for_another_in_the_states_that_count,
        queues::who_follows_is_known_until_it_follows_no_longer,
        queues::a_batch_is_counted_by_state_and_open_until_all_have_ended,
        queues::daemons_are_remembered_with_how_they_ended,
        policy::what_waits_too_long_is_found_the_earliest_first,
        policy::a_new_job_expires_as_its_record_says,
        policy::children_come_in_pages_and_stay_when_their_parent_goes,
        policy::a_job_that_is_cancelled_with_its_children_gets_no_further_ones,
        belongings::checkpoints_come_oldest_first,
        belongings::the_resume_point_is_never_dropped,
        belongings::a_record_points_only_to_what_is_there,
        belongings::a_token_keeps_its_newest_status,
        belongings::only_the_tokens_that_a_change_names_are_forgotten,
        belongings::only_a_terminal_job_of_this_version_is_removed,
        belongings::everything_of_a_removed_job_goes,
        own::an_output_is_kept_as_it_was_written_and_the_last_counts,
        own::signals_are_taken_once_and_in_order_by_name,
        own::what_was_taken_waits_again_after_a_rollback_but_not_behind_a_checkpoint,
        own::a_program_that_begins_anew_finds_every_signal_and_nothing_it_left,
        own::a_wait_keeps_its_end,
        own::what_a_removed_job_kept_goes_with_it,
        own::a_change_without_an_entry_is_not_in_the_journal,
        schedules::a_schedule_is_read_as_it_was_added_and_its_name_is_taken_once,
        schedules::schedules_are_due_by_their_moment_and_while_something_is_left_to_do,
        schedules::of_two_who_fire_a_schedule_one_makes_its_jobs,
        schedules::a_schedule_whose_job_cannot_be_added_stays_as_it_was,
        history::the_history_has_everything_in_the_order_of_commits,
        history::the_history_is_searched_by_time_asker_word_and_job,
        history::ended_jobs_come_oldest_first_in_pages,
        history::what_is_old_is_forgotten_in_pieces_the_oldest_first,
        ledger::nobody_has_two_open_intervals_of_a_kind,
        ledger::an_interval_never_ends_before_it_began,
        ledger::what_a_job_used_outlives_it_until_it_is_pruned,
        ledger::a_job_is_found_by_the_tags_it_has_now,
        ledger::the_last_heartbeat_counts,
        ledger::a_machine_of_the_same_id_as_a_job_is_another_owner,
        snapshots::a_snapshot_is_read_as_it_was_added_and_found_by_name_or_beginning,
        snapshots::snapshots_come_in_pages_by_their_ids,
        snapshots::a_snapshot_is_changed_over_the_version_before_only,
        snapshots::a_folder_is_kept_as_long_as_anything_refers_to_it,
        snapshots::a_fork_that_begins_goes_on_with_its_own_row,
        snapshots::what_nothing_keeps_any_more_is_never_shared_again,
        snapshots::forks_and_removals_at_once_leave_no_fork_without_its_folder,
        cache::an_entry_makes_room_in_the_transaction_that_brings_it,
        cache::an_entry_is_used_until_it_is_on_its_way_out,
        cache::the_least_recently_used_come_first_and_what_is_pinned_never,
        cache::an_eviction_goes_in_steps_that_can_be_repeated,
        cache::of_many_who_put_one_key_one_does,
        access::tokens_for_callers_come_back_as_they_were_in_the_order_of_their_ids,
        access::a_removed_token_for_callers_is_gone_also_when_it_was_just_used,
        checking::what_was_written_by_the_rules_is_found_whole_also_when_it_was_moved,
        checking::what_breaks_a_rule_is_named,
        moving::what_is_moved_here_is_the_same_and_moves_on,
        moving::what_came_from_another_store_goes_on_as_it_was,
        moving::the_same_taken_in_again_changes_nothing,
        moving::pages_of_whatever_length_hold_the_same,
        moving::a_move_that_was_cut_off_anywhere_goes_on_and_a_part_is_no_store,
        moving::only_an_empty_store_is_moved_into_and_only_from_one_at_rest,
    );
    println!("claim: {RANDOM_WRITES} random writes leave what a simple model says");
    let store = factory().await;
    let mut model = Model::default();
    let numbers = model::numbers(0x00da_0e12);
    for (index, number) in numbers.take(RANDOM_WRITES).enumerate() {
        model.write(&store, &Op::of(number)).await;
        if index % WRITES_BETWEEN_COMPARISONS == 0 {
            model.compare(&store).await;
        }
    }
    model.compare(&store).await;
}

/// Tries what several daemons on one store rely on. Each call gives three handles, as of three processes, on one fresh store.
pub async fn run_sharing<S: Store>(fresh: impl AsyncFn() -> [S; 3]) {
    macro_rules! claims {
        ($($module:ident::$claim:ident,)*) => {
            $(
                println!("claim: {}", stringify!($claim).replace('_', " "));
                $module::$claim(fresh().await.map(|store| Arc::new(store) as Arc<dyn Store>)).await;
            )*
        };
    }
    claims!(
        leases::a_lease_is_taken_renewed_and_given_back,
        leases::a_node_that_takes_its_lease_again_fences_its_older_handle,
        leases::a_lease_that_has_not_run_out_is_not_taken_over,
        leases::of_those_who_take_over_one_gets_the_jobs,
        leases::a_node_that_was_taken_over_may_come_again,
        leases::who_holds_a_job_is_known_until_it_is_settled,
        leases::what_another_node_holds_is_not_written,
        leases::recovery_looks_at_what_its_node_or_nobody_holds,
        leases::two_claimers_never_get_one_job,
        leases::nothing_is_written_after_a_take_over,
        notices::what_one_sets_for_all_the_others_are_told,
        fencing::every_method_is_known,
        fencing::a_handle_of_an_older_epoch_writes_nothing,
    );
}

/// Tries what many at once rely on: with these handles, as of so many processes, on one fresh store. Each makes so many changes.
pub async fn run_at_once<S: Store>(handles: Vec<S>, changes: usize) {
    let stores: Vec<Arc<dyn Store>> = handles
        .into_iter()
        .map(|store| Arc::new(store) as Arc<dyn Store>)
        .collect();
    println!("claim: what many write at once comes out as if one after the other had");
    at_once::every_version_is_written_once(stores.clone(), changes).await;
    println!("claim: of many who want one name at once one gets it");
    at_once::one_of_all_gets_the_name(stores).await;
}

/// Compares so many random writes with the model, or as many as fit into this time. Returns how many.
pub async fn run_random(store: impl Store, seed: u64, writes: usize, time: Duration) -> usize {
    let (mut model, until) = (Model::default(), Instant::now() + time);
    let mut done = 0;
    for number in model::numbers(seed).take(writes) {
        model.write(&store, &Op::of(number)).await;
        done += 1;
        if done % WRITES_BETWEEN_COMPARISONS_OF_MANY == 0 {
            model.compare(&store).await;
            if Instant::now() > until {
                return done;
            }
        }
    }
    model.compare(&store).await;
    done
}

/// Tries that a store which is closed and opened again has everything. Each call of the factory opens the same place, which is
/// empty at first.
pub async fn run_reopening<S: Store>(open: impl AsyncFn() -> S) {
    println!("claim: a store that is opened again has everything");
    let mut model = Model::default();
    let mut numbers = model::numbers(7);
    for _ in 0..5 {
        let store = open().await;
        model.compare(&store).await;
        for number in numbers.by_ref().take(100) {
            model.write(&store, &Op::of(number)).await;
        }
    }
    model.compare(&open().await).await;
}
