"""The faults of flow files, templates and expressions (rows D), and what holds each."""

from __future__ import annotations

from tests.faults.row import Row, row

_DOCUMENT = "lang/test_document.py::test_"
_ATTACKS = "lang/test_attacks.py::test_"
_NESTED = "plan/test_nested.py::test_"
_LIMITS = "refs/test_limits.py::test_"

REFUSED, SOON = _ATTACKS + "every_attack_is_refused_or_harmless", _ATTACKS + "no_attack_takes_long_or_much_memory"

FLOW_ROWS: dict[str, Row] = {
    "D01": row(
        "aliases that stand for more and more",
        "flow-aliases",
        REFUSED,
        SOON,
        _DOCUMENT + "aliases_are_bounded_in_number_size_and_depth",
    ),
    "D02": row(
        "nesting without end", "flow-depth", REFUSED, _DOCUMENT + "a_hundred_thousand_openings_end_no_process"
    ),
    "D03": row("duplicate keys", _DOCUMENT + "duplicate_keys_are_all_reported_with_both_lines"),
    "D04": row(
        "words that YAML 1.1 takes for something else", _DOCUMENT + "scalars_follow_the_core_rules_of_yaml_1_2"
    ),
    "D05": row(
        "huge numbers",
        REFUSED,
        _DOCUMENT + "integers_that_do_not_fit_in_64_bits_are_refused",
        _DOCUMENT + "numbers_that_json_does_not_have_are_refused",
        _DOCUMENT + "a_number_of_a_million_digits_costs_no_time",
    ),
    "D06": row(
        "characters that no eye can see",
        _DOCUMENT + "characters_that_hide_or_break_lines_are_refused_with_their_place",
        _DOCUMENT + "bytes_that_are_not_utf_8_are_refused_with_their_place",
        _DOCUMENT + "a_byte_order_mark_is_skipped_and_counts_no_column",
    ),
    "D07": row("tags", _DOCUMENT + "the_usual_mistakes_are_named_at_their_place"),
    "D08": row("an alias inside of its own anchor", _DOCUMENT + "an_unknown_or_recursive_alias_is_refused"),
    "D09": row("any text at all", "flow-yaml", _DOCUMENT + "any_text_is_a_document_or_refused"),
    "D10": row(
        "what a flow or profile may name as a file",
        "flow-attacks",
        REFUSED,
        SOON,
        _DOCUMENT + "what_is_no_file_is_refused_without_hanging",
    ),
    "D11": row(
        "circles and chains of files",
        "flow-attacks",
        REFUSED,
        _NESTED + "flows_that_run_each_other_are_refused_with_every_edge",
        _NESTED + "flows_stand_in_each_other_sixteen_deep",
        "lang/test_profiles.py::test_a_cycle_is_refused_with_the_place_of_every_edge",
        "lang/test_profiles.py::test_an_endless_chain_is_refused_before_it_is_read_to_its_end",
    ),
    "D12": row("mistyped words", "lang/test_problems.py::test_a_fault_of_a_step_is_said_at_its_place", SOON),
    "D13": row(
        "graphs that are none, or very large",
        "flow-graphs",
        REFUSED,
        "plan/test_compile.py::test_a_broken_flow_is_refused_at_its_place",
        "plan/test_compile_all.py::test_ten_thousand_steps_are_compiled_in_seconds",
        "plan/test_frontier_random.py::test_whatever_happens_in_any_graph",
    ),
    "D14": row(
        "products of fan-outs",
        "flow-attacks",
        REFUSED,
        "plan/test_cells.py::test_what_cannot_be_a_matrix_is_refused",
        _NESTED + "a_flow_of_a_hundred_thousand_steps_is_allowed_and_one_of_more_is_counted_and_refused",
        _NESTED + "items_of_items_are_counted_before_anything_runs",
    ),
    "D15": row(
        "ways out of the language",
        "flow-escapes",
        "refs/test_escapes.py::test_an_escape_is_refused",
        "refs/test_escapes.py::test_an_escape_reaches_nothing_under_default_either",
    ),
    "D16": row(
        "templates that burn time or memory",
        "flow-templates",
        _LIMITS + "every_bomb_ends_in_two_seconds_and_half_a_gigabyte",
        _LIMITS + "many_strings_share_one_allowance",
        SOON,
    ),
    "D17": row(
        "values that look like expressions",
        "run/test_second_order.py::test_a_value_stays_text_on_every_way_through_a_run",
        "refs/test_escapes.py::test_a_value_stays_text_on_every_route",
    ),
    "D18": row(
        "what is not there, or of the wrong type",
        "refs/test_language.py::test_a_wrong_value_is_an_evaluation_error_that_says_where_it_ends",
        "plan/test_places_of_faults.py::test_a_fault_is_told_at_its_place",
        "run/test_executor_flows.py::test_an_axis_that_is_no_list_fails_the_step_at_its_place",
    ),
    "D19": row(
        "names of steps that would be paths",
        "lang/test_names.py::test_what_is_no_name_is_refused_wherever_one_is_needed",
    ),
    "D20": row(
        "patterns that take for ever",
        "flow-patterns",
        _LIMITS + "a_pattern_takes_linear_time",
        "lang/test_names.py::test_a_pattern_of_an_input_is_linear",
    ),
    "D21": row(
        "arguments of servers",
        "server/test_command.py::test_extra_arguments_are_checked_against_the_help",
        "server/test_flags.py::test_what_opens_the_server_or_fetches_is_unsafe_by_any_of_its_names",
        "plan/test_untrusted.py::test_what_could_do_harm_is_refused_at_its_place",
    ),
    "D22": row(
        "secrets",
        "plan/test_secrets.py::test_a_secret_is_read_nowhere_but_in_what_a_tool_is_given",
        "plan/test_secrets.py::test_what_a_tool_says_of_a_secret_reaches_no_other_step",
    ),
    "D23": row(
        "the whole loader",
        "flow-fuzz",
        "lang/test_fuzz.py::test_an_edited_flow_is_a_plan_or_is_refused",
        "plan/test_junk.py::test_junk_in_any_place_is_refused_or_compiled",
    ),
}
