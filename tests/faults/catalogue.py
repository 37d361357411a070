"""The faults of servers and their client, and what holds each: an ordinary test, a scene, or nothing yet.

The rows' numbers are those of the design's list of faults and attacks: A of a server's start, stop and identity, B
of the client, C of the record, D of flow files, E of what models say, F of what tools and others may do and see.
"""

from __future__ import annotations

from tests.faults.flow_rows import FLOW_ROWS
from tests.faults.row import Row
from tests.faults.row import row as _row

_MANAGER = "server/test_manager.py::test_"
_GUARDIAN = "server/test_guardian.py::test_"
_LIVE = "server/test_liveness.py::test_"
_REAL = "server/test_real_server.py::test_"
_CLIENT = "llama/test_client.py::test_"
_RETRY = "llama/test_retry.py::test_"
_SSE = "llama/test_sse.py::test_"
_RUNS = "test_real_runs.py::test_"
_BROKEN = "faults/test_record.py::test_"
_WRITING = "tools/test_writing.py::test_"
_GUARD = "tools/browser/test_guard.py::test_"
_FETCH = "tools/browser/test_fetch.py::test_"
_HARMONY = "prompt/test_harmony.py::test_"
_RESUME = "cli/test_resume.py::test_"
_LOOP = "steps/test_loop.py::test_"
_LOOPS = "cli/test_tool_loops.py::test_"
_STDIO = "tools/mcp/test_stdio.py::test_"
_SANDBOX = "tools/sandbox/test_process.py::test_"
_ATTACKS = "tools/sandbox/test_attacks.py::test_"

ROWS: dict[str, Row] = {
    "A01": _row(
        "twelve start one profile at once", "twelve-at-once", _MANAGER + "twelve_processes_start_one_server"
    ),
    "A02": _row("another profile on the same port", "port-busy"),
    "A03": _row(
        "the port is stolen before its use",
        "port-stolen",
        _MANAGER + "a_port_that_is_stolen_before_the_server_takes_it_is_replaced",
    ),
    "A04": _row(
        "a stranger shares the port",
        "shared-port",
        "server/test_listeners.py::test_a_stranger_that_came_after_the_proof_gets_no_request",
    ),
    "A05": _row("a stranger's /health says 200", "foreign-health"),
    "A06": _row("another llama-server on the port", "foreign-model"),
    "A07": _row("a stale record", "stale-record"),
    "A08": _row(
        "the pid is another program's",
        "pid-reused",
        _MANAGER + "a_record_of_a_foreign_process_is_dropped_and_that_process_is_left_alone",
    ),
    "A09": _row("the same, started in the same tick", "pid-reused"),
    "A10": _row("the machine was restarted", "server/test_record.py::test_each_proof_of_a_record_is_needed"),
    "A11": _row("kill -9 of the command while loading", "kill-loading"),
    "A12": _row(
        "kill -9 of the command in a stream", "kill-generating", _RUNS + "no_server_outlives_a_run_that_is_killed"
    ),
    "A13": _row("kill -9 of the guardian", "kill-guardian", _GUARDIAN + "the_server_dies_with_a_killed_guardian"),
    "A14": _row("a start from a thread that ends", _REAL + "a_server_started_from_a_thread_that_ends_lives_on"),
    "A15": _row("SIGTERM while loading", "terminate-loading"),
    "A16": _row("stop with own streams", "stop-while-streaming"),
    "A17": _row("stop with a stranger's stream", "stop-under-a-stranger"),
    "A18": _row(
        "the server is suspended",
        "suspended-server",
        "server/test_alive.py::test_a_server_that_answers_nothing_hangs_after_at_most_twenty_seconds",
        _LIVE + "a_server_that_hangs_under_a_request_is_killed_and_told_of",
    ),
    "A19": _row(
        "children that ignore SIGTERM", _GUARDIAN + "a_server_that_ignores_sigterm_is_killed_with_all_its_children"
    ),
    "A20": _row("kill -9 of the server in a stream", "kill-server", "kill-and-retry"),
    "A21": _row("a crash loop by a bad flag", "crash-loop-bad-flag"),
    "A22": _row("a crash loop by aborts", "crash-loop-abort", _MANAGER + "a_crash_loop_ends_after_three_starts"),
    "A23": _row("a model that cannot be", "bad-models"),
    "A24": _row("a limit on the address space", "memory-limit"),
    "A25": _row("the kernel's OOM killer", "oom-killer"),
    "A26": _row(
        "a context too large",
        "context-too-large",
        "server/test_memory.py::test_a_context_that_cannot_fit_is_refused_with_the_number_and_the_key",
    ),
    "A27": _row("a slow load", "slow-load"),
    "A28": _row("a load without end", "stuck-load"),
    "A29": _row("a port out of range", "lang/test_profile.py::test_a_port_out_of_range_is_refused"),
    "A30": _row("a stale socket, or a live one without a record", "live-socket"),
    "A31": _row("a log of gigabytes", _GUARDIAN + "the_log_has_a_cap_and_a_flood_does_not_block_the_server"),
    "A32": _row("output that nobody reads", _GUARDIAN + "the_log_has_a_cap_and_a_flood_does_not_block_the_server"),
    "A33": _row(
        "the idle timeout ends within a request",
        "idle-in-a-request",
        _LIVE + "a_request_that_outlasts_the_idle_timeout_is_not_cut",
    ),
    "A34": _row(
        "an attach as the idle timeout ends",
        "attach-as-it-expires",
        _LIVE + "an_idle_stop_and_a_new_user_never_meet_in_an_error",
    ),
    "A35": _row(
        "a slow health probe while tokens flow",
        "server/test_alive.py::test_flowing_tokens_are_proof_of_life_however_slow_the_health_probe_is",
    ),
    "A36": _row("Ctrl-C once, twice, thrice in each phase", "ctrl-c", "ctrl-c-twice", "ctrl-c-thrice"),
    "A37": _row("the terminal is closed", "hang-up"),
    "A38": _row(
        "the state folder cannot be used",
        "state-folder-unusable",
        _MANAGER + "a_state_folder_that_cannot_be_used_is_said",
    ),
    "A39": _row("the wall clock jumps", "clock-jumps"),
    "A40": _row(
        "the command is suspended",
        "suspended-command",
        "server/test_alive.py::test_time_in_which_we_were_suspended_proves_nothing",
    ),
    "B01": _row("refused, then up", _CLIENT + "a_refused_connection_is_tried_until_somebody_listens"),
    "B02": _row("a cut at any byte", _CLIENT + "no_cut_anywhere_gives_a_false_success"),
    "B03": _row("no last event", _CLIENT + "a_stream_without_its_last_event_has_failed"),
    "B04": _row(
        "any cut of an event stream",
        "rechunked",
        _SSE + "any_cut_gives_the_same_events",
        _SSE + "the_standard_is_followed_in_every_two_cuts",
    ),
    "B05": _row("an error event under 200", _CLIENT + "an_error_event_under_200_is_an_error"),
    "B06": _row("silence", _CLIENT + "silence_ends_at_the_idle_limit"),
    "B07": _row("a drip", _CLIENT + "a_drip_ends_at_the_callers_deadline"),
    "B08": _row(
        "streams, lines, bodies without end",
        _CLIENT + "a_stream_without_end_is_ended",
        _CLIENT + "a_huge_line_is_refused_without_filling_the_memory",
        _CLIENT + "a_huge_body_is_refused_without_filling_the_memory",
    ),
    "B09": _row("a compressed bomb", _CLIENT + "a_compressed_answer_is_refused_unopened"),
    "B10": _row(
        "a prompt beyond the context",
        _CLIENT + "a_context_overflow_tells_both_sizes",
        "llama/test_real_client.py::test_an_overflow_tells_both_sizes",
    ),
    "B11": _row(
        "every status",
        _RETRY + "a_refusal_is_final",
        _RETRY + "what_a_proxy_says_is_tried_three_times",
        _RETRY + "retry_after_is_read",
        _RETRY + "a_500_is_tried_once_more_and_then_tells_the_end_of_the_log",
    ),
    "B12": _row(
        "garbage for an answer",
        _CLIENT + "garbage_is_a_typed_error_that_shows_a_little_of_it",
        "llama/test_wire.py::test_no_json_raises_anything_but_step_error",
    ),
    "B13": _row(
        "an abandoned request",
        "abandoned",
        "llama/test_real_client.py::test_a_stream_that_is_left_frees_its_slot_while_another_runs",
    ),
    "B14": _row(
        "more steps than slots",
        "three-hundred-ready",
        _CLIENT + "no_more_requests_are_in_flight_than_there_are_slots",
    ),
    "B15": _row(
        "a sampling field that is not",
        "llama/test_request.py::test_a_parameter_that_the_server_would_swallow_is_refused",
    ),
    "B16": _row("proxies of the environment", _CLIENT + "proxies_of_the_environment_are_ignored"),
    "B17": _row("a redirect", _CLIENT + "redirects_are_refused"),
    "B18": _row("a redirect to a file", _CLIENT + "redirects_are_refused"),
    "B19": _row(
        "an answer cut by the context",
        "llama/test_real_client.py::test_the_context_that_ends_is_reported_as_truncated",
    ),
    "B20": _row("all at once, at random", "toxic-mix"),
    "C01": _row(
        "kill -9 at every call on files", "kill-every-call", _BROKEN + "a_run_that_is_killed_anywhere_goes_on"
    ),
    "C02": _row(
        "kill -9 of the resume too", "kill-resume-too", _BROKEN + "a_resume_that_is_killed_too_is_resumed"
    ),
    "C03": _row(
        "a torn last line",
        "torn-record",
        "record/test_journal_file.py::test_a_torn_last_record_is_skipped_counted_and_appended_after",
        _RESUME + "a_torn_line_is_passed_over_and_that_is_on_record",
    ),
    "C04": _row("a flipped bit", "flipped-bits"),
    "C05": _row("NUL bytes after a power loss", "power-loss"),
    "C06": _row(
        "what was not synced is lost",
        "power-loss",
        "cli/test_promises.py::test_each_boundary_is_synced_before_anything_else_is_written_or_told",
        "cli/test_promises.py::test_what_is_done_once_begins_only_when_that_is_on_stable_storage",
        "cli/test_promises.py::test_what_waits_is_synced_though_nothing_more_happens",
    ),
    "C07": _row(
        "a full disk",
        "full-disk",
        "no-space-once",
        _BROKEN + "a_disk_that_is_full_ends_the_run_and_it_goes_on_when_there_is_room",
        "cli/test_full_disk.py::test_a_write_that_fails_anywhere_ends_the_run_and_it_can_be_resumed",
    ),
    "C08": _row("a short write", "short-writes", "record/test_journal_file.py::test_a_short_write_is_completed"),
    "C09": _row(
        "a sync that fails",
        "failed-sync",
        "failed-folder-sync",
        "record/test_journal_file.py::test_a_failed_sync_is_never_tried_again",
    ),
    "C10": _row("EINTR and EAGAIN", "interrupted-writes"),
    "C11": _row("a quota, a limit on file sizes", "no-room", "quota"),
    "C12": _row("two resumes at once", "two-resumes", _RESUME + "a_run_that_another_process_writes_is_refused"),
    "C13": _row(
        "a changed flow, model or tool",
        _RESUME + "what_was_changed_runs_again_with_what_depends_on_it_and_that_is_said",
        _RESUME + "another_version_of_a_tool_runs_again",
        _RESUME + "another_model_asks_all_again",
    ),
    "C14": _row(
        "a once step in flight",
        "once-in-flight",
        _RESUME + "an_interrupted_once_step_waits_for_the_users_word",
        _LOOPS + "a_resumed_run_never_silently_repeats_what_its_model_did_once",
        _BROKEN + "a_run_whose_model_does_something_once_is_killed_anywhere_and_does_it_once",
    ),
    "C15": _row("a corrupt stored result", "record/test_results.py::test_a_file_with_any_byte_changed_is_no_hit"),
    "C16": _row(
        "a key by delimiters",
        "run/test_key.py::test_different_values_have_different_keys",
        "run/test_key.py::test_no_delimiter_makes_two_values_one",
    ),
    "C17": _row("the index is deleted", "record/test_index.py::test_a_harmed_index_changes_nothing"),
    "C18": _row(
        "the index is locked or corrupt",
        "record/test_index.py::test_a_harmed_index_changes_nothing",
        "record/test_index.py::test_a_locked_index_is_passed_by",
    ),
    "C19": _row(
        "records of older versions",
        "record/test_golden.py::test_it_is_read_whole",
        "record/test_golden.py::test_every_view_shows_it",
        "record/test_golden.py::test_it_is_resumed_and_what_finished_is_not_run_again",
    ),
    "C20": _row(
        "an answer that spells lines of a log",
        "record/test_rlog.py::test_no_text_can_forge_a_line_or_a_field",
        "record/test_rlog.py::test_whatever_the_text_the_lines_and_fields_are_ours",
        "record/test_codec.py::test_every_event_comes_back_as_it_was",
        "record/test_codec.py::test_no_text_can_make_a_record_look_summed",
    ),
    "C21": _row(
        "a log of a million lines",
        "long-log",
        "record/test_rlog_tail.py::test_the_last_lines_of_a_long_file_are_found",
        "record/test_rlog_tail.py::test_what_is_added_comes_once_and_in_whole_lines",
    ),
    "C22": _row("the run's folder is removed", "folder-removed"),
    "C23": _row("few files may be open", "few-files", "failed-open"),
    **FLOW_ROWS,
    "E01": _row(
        "contents that spell control tokens",
        "control-strings",
        _HARMONY + "control_strings_stay_text_in_every_place",
        "prompt/test_real_harmony.py::test_its_control_tokens_stay_text_in_every_mode",
        "prompt/test_real_apis.py::test_a_content_that_the_template_would_take_for_its_own_is_refused",
    ),
    "E02": _row(
        "control tokens in parts and in disguise",
        "control-strings",
        "prompt/test_chat.py::test_content_never_becomes_a_control_token",
    ),
    "E03": _row(
        "forged authors, recipients and names",
        "prompt/test_tool_names.py::test_what_is_no_name_is_refused",
        "prompt/test_harmony_tools.py::test_a_forged_author_is_refused",
        _LOOP + "a_call_that_is_none_goes_back_is_on_record_and_runs_nothing",
        _LOOPS + "hostile_results_and_calls_are_escaped_wherever_they_are_shown",
    ),
    "E04": _row(
        "a tool server's names: spaces, control tokens, twice, one of ours",
        _STDIO + "names_that_a_prompt_could_not_hold_are_left_out",
        _STDIO + "a_server_that_cannot_be_used_is_not_there",
        "tools/test_registry.py::test_what_is_wrong_with_a_tool_server_is_told",
    ),
    "E05": _row(
        "a tool's description gives orders, or changes",
        _STDIO + "a_change_from_what_was_pinned_stops_and_shows_itself",
        "library/test_talking.py::test_what_a_tool_says_of_itself_cannot_become_control_tokens",
        "tools/mcp/test_time_server.py::test_a_flow_uses_a_server_and_is_held_to_its_lock",
    ),
    "E06": _row(
        "malformed output of a model",
        "token-fuzz",
        "prompt/test_fuzz.py::test_no_sequence_of_tokens_calls_a_tool_unsoundly",
        "prompt/test_harmony_calls.py::test_a_call_that_leaves_doubt_is_asked_for_again",
        _LOOP + "a_call_that_is_none_goes_back_is_on_record_and_runs_nothing",
    ),
    "E07": _row(
        "a tool that the step does not grant",
        _LOOP + "a_call_that_is_none_goes_back_is_on_record_and_runs_nothing",
        "test_permissions.py::test_the_strongest_rule_that_fits_decides",
    ),
    "E08": _row(
        "thoughts that call, or pass for an answer",
        "prompt/test_harmony_calls.py::test_text_about_a_call_is_none",
        "prompt/test_harmony_stream.py::test_what_is_no_answer_is_taken_for_none",
    ),
    "E09": _row(
        "arguments that a shell would act on",
        "tools/test_shell.py::test_a_line_is_the_shells_and_a_list_is_nobodys",
    ),
    "E10": _row(
        "a loop without an end",
        _LOOP + "a_bound_ends_the_loop_with_an_error_that_names_it",
        _LOOP + "the_calls_of_one_turn_are_bounded_before_any_is_made",
        _LOOP + "the_same_call_three_times_in_a_row_is_an_end",
        _LOOP + "the_runs_limit_of_calls_counts_a_models_calls_and_no_refused_ones",
        _LOOP + "a_timeout_ends_the_calls_under_way_and_says_so_of_each",
    ),
    "E11": _row(
        "raw text that spells control tokens", "prompt/test_raw.py::test_control_tokens_in_a_text_stay_text"
    ),
    "E12": _row("token ids out of range", "llama/test_request.py::test_what_is_no_token_id_is_refused"),
    "E13": _row(
        "our rendering is another than gpt-oss's",
        _HARMONY + "the_render_is_openai_harmonys_own",
        _HARMONY + "the_render_is_what_the_models_own_template_says",
        "prompt/test_real_harmony.py::test_our_render_is_what_the_servers_own_tokenizer_makes_of_it",
    ),
    "F01": _row("all that tool code must not reach", "sandbox-attacks", _ATTACKS + "every_attack_is_blocked"),
    "F02": _row(
        "no bubblewrap, or another program by that name",
        "tools/sandbox/test_bwrap.py::test_only_what_nobody_else_could_have_put_there_is_run",
        "tools/sandbox/test_bwrap.py::test_neither_the_path_nor_the_working_folder_is_looked_at",
        "tools/test_shell.py::test_without_a_sandbox_nothing_runs",
    ),
    "F03": _row(
        "user namespaces are forbidden",
        _ATTACKS + "where_user_namespaces_are_forbidden_that_is_the_cause",
        _ATTACKS + "a_run_that_cannot_have_its_sandbox_ends_with_3",
    ),
    "F04": _row(
        "fork bomb, memory, processor, disk, descriptors, floods, sleep",
        "sandbox-limits",
        _SANDBOX + "a_limit_ends_the_program_and_is_named",
        _SANDBOX + "a_program_meets_the_end_of_its_own_memory",
        _SANDBOX + "files_and_descriptors_have_their_bounds",
        _SANDBOX + "its_time_ends",
    ),
    "F05": _row("a daemon", "sandbox-kill", _SANDBOX + "what_a_program_leaves_running_ends_with_it"),
    "F06": _row(
        "kill -9 of us while a tool runs", "sandbox-kill", _SANDBOX + "killing_us_ends_everything_within_a_second"
    ),
    "F07": _row("the network, by every name", "sandbox-attacks", _ATTACKS + "every_attack_is_blocked"),
    "F08": _row(
        "words put into the terminal's mouth",
        "sandbox-attacks",
        _ATTACKS + "nothing_is_typed_into_the_terminal_that_we_run_in",
    ),
    "F09": _row(
        "inherited descriptors",
        "sandbox-attacks",
        "tools/test_python.py::test_standard_input_is_empty_and_children_have_nothing_else",
    ),
    "F10": _row("secrets of the environment", "sandbox-attacks", _SANDBOX + "the_environment_is_what_is_given"),
    "F11": _row(
        "links, devices and FIFOs where the host reads and writes",
        "sandbox-attacks",
        "tools/test_workspace.py::test_what_is_no_regular_file_is_refused_at_once",
        _WRITING + "no_link_is_followed_or_replaced",
        _WRITING + "what_is_no_regular_file_is_neither_read_nor_replaced",
        _WRITING + "a_hard_link_to_something_outside_is_cut_not_written_through",
    ),
    "F12": _row(
        "a patch that wants out, or into .git",
        "patch-race",
        _WRITING + "nothing_is_written_outside",
        _WRITING + "what_is_gits_or_our_own_is_written_by_no_tool",
        _WRITING + "a_folder_that_is_swapped_for_a_link_meanwhile_leads_nowhere",
        "tools/apply_patch/test_apply_patch.py::test_sizes_are_bounded",
    ),
    "F13": _row(
        "a patch that is killed half-way",
        "patch-kill",
        "patch-kill-twice",
        "tools/test_commit.py::test_an_error_at_any_call_takes_all_back",
        "faults/test_patches.py::test_a_patch_that_is_killed_anywhere_leaves_the_old_files_or_the_new_ones",
    ),
    "F14": _row(
        "addresses of this machine and network, in every spelling",
        "browser-spellings",
        _GUARD + "no_spelling_of_a_private_address_is_dialled",
        _GUARD + "no_redirect_leads_to_one",
        "sites/test_addresses.py::test_a_special_address_in_any_wrapping_is_not_public",
    ),
    "F15": _row(
        "a name that is rebound",
        "browser-rebinding",
        _GUARD + "a_name_that_is_rebound_is_judged_by_what_is_dialled",
        _GUARD + "one_private_address_among_public_ones_closes_the_name",
    ),
    "F16": _row(
        "redirects to files, other schemes and ports, in circles",
        "browser-redirects",
        _FETCH + "a_redirect_leads_nowhere_else",
        _GUARD + "at_most_five_redirects_are_followed",
        _FETCH + "tls_holds_the_name_though_an_address_is_dialled",
    ),
    "F17": _row(
        "bombs, drips, floods, lies about the type",
        "browser-bombs",
        "browser-hostile",
        _FETCH + "a_bomb_is_put_down_before_it_is_unpacked",
        _FETCH + "a_hostile_server_gets_an_end_within_its_time",
        "tools/browser/test_text.py::test_a_lie_about_the_type_is_found_out",
    ),
    "F18": _row(
        "pages a million levels deep",
        "browser-deep",
        "tools/browser/test_html.py::test_no_page_takes_long",
        "tools/browser/test_html.py::test_what_nobody_sees_is_left_out",
    ),
    "F19": _row(
        "a tool server hangs, floods, lies, ends, writes logs",
        _STDIO + "every_way_to_misbehave_in_a_call_is_the_tools_error",
        _STDIO + "a_flood_of_messages_ends_the_server_and_not_us",
        _STDIO + "a_server_that_cannot_be_used_is_not_there",
        _STDIO + "what_is_no_message_is_passed_over_and_standard_error_is_not_ours",
        _STDIO + "nothing_outlives_us_however_we_are_killed",
        "tools/mcp/test_http.py::test_what_such_a_server_may_not_do_is_told",
    ),
    "F22": _row(
        "a table in which a spreadsheet finds a formula",
        "ui/report/test_bench.py::test_csv_has_a_line_a_trial_and_no_formulas",
        "ui/report/test_bench.py::test_a_text_that_begins_like_a_formula_is_quoted",
    ),
    "F24": _row(
        "file modes under umask 000",
        "secrets-kept",
        "record/test_folder.py::test_everything_is_private_under_any_umask",
        "test_private_folders.py::test_no_other_user_can_get_at_what_is_kept",
    ),
    "F25": _row(
        "a predictable temporary path",
        _GUARDIAN + "a_state_folder_with_a_long_path_gets_a_private_folder_for_its_socket",
    ),
    "F26": _row("other machines, other pages", "out-of-reach"),
    "F27": _row(
        "secrets in the server's environment",
        "secrets-kept",
        "server/test_command.py::test_the_environment_is_an_allow_list_without_secrets_and_disguised_options",
        "server/test_engines.py::test_a_binary_that_is_asked_what_it_can_do_sees_no_secret",
    ),
    "F28": _row(
        "hostile metadata of a model",
        "server/test_memory.py::test_metadata_that_no_model_has_is_refused",
        "server/test_gguf_header.py::test_damage_never_escapes_as_another_error",
    ),
    "F30": _row(
        "what lies in the working folder is loaded",
        "tools/test_python.py::test_the_workspace_is_here_and_stands_in_for_nothing",
        "tools/test_registry.py::test_nothing_is_found_from_the_working_folder",
        _STDIO + "a_program_is_never_found_in_the_working_folder_by_its_bare_name",
    ),
}


def listing() -> str:
    """The table as text, a line for each row."""
    return "\n".join(
        f"{row}  {fault:<46}  {', '.join(held_by) or '-- MISSING'}" for row, (fault, held_by) in ROWS.items()
    )


def scenes_of(row: str) -> list[str]:
    """The scenes that play this row."""
    return [name for name in ROWS[row].held_by if "::" not in name]
