"""Finding profiles, merging them, and saying where each value was written."""

from __future__ import annotations

import os
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from gptoss_flow.errors import Invalid, Mark
from gptoss_flow.lang.document import parse_document, read_document
from gptoss_flow.lang.profile import REQUEST_TIME, Profile
from gptoss_flow.lang.profile_parts import ModelSource, Rope
from gptoss_flow.lang.profile_places import SHIPPED, SearchPath, project_folder, search_path
from gptoss_flow.lang.profiles import ResolvedProfile, external_profile, list_profiles, resolve_profile
from gptoss_flow.lang.schema import profile_schema
from gptoss_flow.sampling import Params


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def write(path: str, text: str) -> Path:
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(dedent(text).lstrip())
    return file


ABOUT = {"name", "description"}
HERE = SearchPath((Path("profiles"), SHIPPED))


def resolve(ref: str | dict[str, Any], places: SearchPath = HERE) -> ResolvedProfile:
    return resolve_profile(ref, places=places, base_dir=Path.cwd(), needs_model=False)


def refusal(ref: str | dict[str, Any], places: SearchPath = HERE) -> str:
    with pytest.raises(Invalid) as caught:
        resolve(ref, places)
    return str(caught.value)


# --- merging ---------------------------------------------------------------------------------------------


def test_mappings_merge_lists_replace_and_null_removes() -> None:
    write(
        "profiles/low.yaml",
        "{kv_cache: {k: q8_0, reuse: 64}, extra_args: [--a, --b], env: {A: '1', B: '2'}, seed: 7}",
    )
    write(
        "profiles/top.yaml",
        "{extends: low, kv_cache: {v: bf16}, extra_args: [--c], env: {B: null, C: '3'}, seed: null}",
    )
    merged = resolve("top").profile
    assert (merged.kv_cache.k, merged.kv_cache.v, merged.kv_cache.reuse) == ("q8_0", "bf16", 64)
    assert merged.extra_args == ["--c"]
    assert merged.env == {"A": "1", "C": "3"}
    assert merged.seed is None


def test_what_is_written_short_merges_as_what_it_is_short_for() -> None:
    write("profiles/low.yaml", "keepalive: 2s")
    write("profiles/top.yaml", "{extends: low, keepalive: {max_tokens: 3}}")
    merged = resolve("top").profile.keepalive
    assert (merged.every, merged.max_tokens) == (2.0, 3)
    write("profiles/off.yaml", "{extends: top, keepalive: 0}")
    merged = resolve("off").profile.keepalive
    assert (merged.every, merged.max_tokens) == (0.0, 3)
    assert resolve("off").origin(("keepalive", "every")) == Mark("profiles/off.yaml", 1, 27)


def test_null_brings_back_the_default_of_a_key_and_of_a_whole_mapping() -> None:
    write("profiles/low.yaml", "{mlock: true, speculative: {model: d.gguf}, listen: {port: 8000}}")
    write("profiles/top.yaml", "{extends: low, mlock: null, speculative: null, listen: null}")
    assert resolve("top").profile == Profile(name="top")


def test_several_are_merged_in_order_and_this_file_last() -> None:
    write("profiles/a.yaml", "{batch: 1024, parallel: 1, seed: 1}")
    write("profiles/b.yaml", "{parallel: 2, seed: 2}")
    write("profiles/top.yaml", "{extends: [a, b], seed: 3}")
    merged = resolve("top").profile
    assert (merged.batch, merged.parallel, merged.seed) == (1024, 2, 3)


def test_a_base_that_is_reached_twice_does_not_undo_what_was_laid_over_it() -> None:
    write("profiles/a.yaml", "{extends: base, parallel: 7}")
    write("profiles/b.yaml", "{extends: base, seed: 1}")
    write("profiles/top.yaml", "{extends: [a, b]}")
    assert resolve("top").profile.parallel == 7


def test_name_and_description_are_not_inherited() -> None:
    write("profiles/low.yaml", "{name: low, description: Low.}")
    write("profiles/top.yaml", "{extends: low}")
    assert (resolve("top").profile.name, resolve("top").profile.description) == ("top", "")


@pytest.mark.parametrize(
    ("low", "top", "expected"),
    [
        ("{context: 100}", "{context_total: 800}", {"context_total": 800}),
        ("{context_total: 800}", "{context: 100}", {"context": 100}),
    ],
)
def test_the_other_way_to_say_the_context_replaces_what_is_inherited(
    low: str, top: str, expected: dict[str, int]
) -> None:
    write("profiles/low.yaml", low)
    write("profiles/top.yaml", top[:1] + "extends: low, " + top[1:])
    merged = resolve("top").profile
    assert merged.model_dump(include={"context", "context_total"}, exclude_none=True) == expected


def test_another_source_of_the_model_replaces_the_inherited_one_but_not_its_alias() -> None:
    write("profiles/low.yaml", "{extends: demo, model: {alias: small}}")
    write("profiles/top.yaml", "{extends: low, model: {path: /m/a.gguf}}")
    model = resolve("top").profile.model
    assert model.model_dump(exclude_none=True) == {"alias": "small", "path": "/m/a.gguf"}


def test_quants_alone_keep_the_inherited_folder() -> None:
    write("profiles/low.yaml", "{model: {dir: /m, file: 'a-{quant}.gguf', quants: [Q8_0]}}")
    write("profiles/top.yaml", "{extends: low, model: {quants: [Q4_0]}}")
    model = resolve("top").profile.model
    assert (model.dir, model.quants) == ("/m", ["Q4_0"])


# --- places of values and of problems --------------------------------------------------------------------


def test_each_value_knows_the_file_and_line_it_was_written_in() -> None:
    write("profiles/low.yaml", "parallel: 2\nkv_cache:\n  k: q8_0\n  v: bf16\n")
    write("profiles/top.yaml", "extends: low\nkv_cache:\n  v: f32\n")
    resolved = resolve("top")
    assert resolved.origin(("parallel",)) == Mark("profiles/low.yaml", 1, 11)
    assert resolved.origin(("kv_cache", "k")) == Mark("profiles/low.yaml", 3, 6)
    assert resolved.origin(("kv_cache", "v")) == Mark("profiles/top.yaml", 3, 6)
    assert resolved.origin(("seed",)) is None
    assert resolved.chain == ("profiles/low.yaml", "profiles/top.yaml")


def test_a_removed_value_has_no_origin() -> None:
    write("profiles/low.yaml", "{env: {A: '1'}, speculative: {model: d.gguf}}")
    write("profiles/top.yaml", "{extends: low, speculative: null}")
    resolved = resolve("top")
    assert resolved.origin(("speculative", "model")) is None
    assert resolved.origin(("env", "A")) is not None


def test_every_problem_of_a_file_is_listed_with_its_place() -> None:
    write("profiles/bad.yaml", "parallel: 0\ncontxt: 5\nlisten:\n  port: 99999\n")
    said = refusal("bad")
    assert "profiles/bad.yaml:1:11" in said
    assert "profiles/bad.yaml:2:1" in said
    assert "context" in said
    assert "profiles/bad.yaml:4:9" in said


def test_a_null_for_an_unknown_key_is_refused_too() -> None:
    write("profiles/bad.yaml", "contxt: null\nkv_cache: {z: null}\n")
    assert "profiles/bad.yaml:1:1" in refusal("bad")
    assert "profiles/bad.yaml:2:12" in refusal("bad")


def test_a_literal_key_is_refused_and_never_shown() -> None:
    write("profiles/bad.yaml", "api_key: sk-very-secret\n")
    said = refusal("bad")
    assert "profiles/bad.yaml:1:10" in said
    assert "secret" not in said


def test_a_contradiction_between_files_is_shown_at_the_value_it_names() -> None:
    write("profiles/low.yaml", "flash_attention: off\n")
    write("profiles/top.yaml", "extends: low\nkv_cache:\n  v: q8_0\n")
    assert "profiles/top.yaml:3:6: a q8_0 V cache needs flash attention" in refusal("top")


def test_an_item_of_a_list_has_a_place_of_its_own() -> None:
    write("profiles/low.yaml", "extra_args:\n  - --a\n  - --b\nlora: [{path: a}, {path: b}]\n")
    write("profiles/top.yaml", "extends: low\nextra_args: [--c]\n")
    resolved = resolve("top")
    assert resolved.origin(("lora", 1)) == Mark("profiles/low.yaml", 4, 19)
    assert resolved.origin(("extra_args", 0)) == Mark("profiles/top.yaml", 2, 14)
    assert resolved.origin(("extra_args", 1)) == Mark(
        "profiles/top.yaml", 2, 13
    )  # the list's: it has no second item
    assert resolve("low").origin(("extra_args", 1)) == Mark("profiles/low.yaml", 3, 5)


@pytest.mark.parametrize("value", ["{}", "{max_tokens: 3}"])
def test_a_contradiction_in_a_mapping_is_shown_where_the_mapping_stands(value: str) -> None:
    write("profiles/top.yaml", f"seed: 1\nspeculative: {value}\n")
    assert refusal("top").startswith("profiles/top.yaml:2:14: speculative needs a draft model")


def test_a_contradiction_within_a_file_is_not_taken_for_a_replacement() -> None:
    write("profiles/bad.yaml", "context: 100\ncontext_total: 800\n")
    assert "profiles/bad.yaml:2:16" in refusal("bad")


def test_a_profile_that_is_no_mapping_is_refused() -> None:
    write("profiles/bad.yaml", "- extends\n")
    assert "profiles/bad.yaml:1:1: a profile is a mapping" in refusal("bad")


# --- names and paths -------------------------------------------------------------------------------------


def test_the_first_folder_that_has_a_name_wins() -> None:
    write("flows/profiles/p.yaml", "seed: 1")
    write("profiles/p.yaml", "seed: 2")
    write("config/gptoss-flow/profiles/p.yaml", "seed: 3")
    places = search_path(Path("flows"), Path.cwd())
    seeds = []
    for file in ("flows/profiles/p.yaml", "profiles/p.yaml", "config/gptoss-flow/profiles/p.yaml"):
        seeds.append(resolve("p", places).profile.seed)
        Path(file).unlink()
    assert seeds == [1, 2, 3]
    assert places.folders[-1] == SHIPPED


def test_an_installed_package_may_offer_profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write("site/team_profiles/shared/ours.yaml", "seed: 8")
    write("site/team_profiles/__init__.py", "raise AssertionError('imported')")
    write(
        "site/team_profiles-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: team-profiles\nVersion: 1.0\n"
    )
    write(
        "site/team_profiles-1.0.dist-info/entry_points.txt",
        "[gptoss_flow.profiles]\nours = team_profiles.shared\n",
    )
    monkeypatch.syspath_prepend(tmp_path / "site")
    places = search_path(None, Path.cwd())
    assert resolve("ours", places).profile.seed == 8
    assert places.folders[-2:] == (tmp_path / "site" / "team_profiles" / "shared", SHIPPED)


def test_an_unknown_name_without_a_file_has_no_place() -> None:
    assert refusal("dmeo").startswith('there is no profile "dmeo"; did you mean "demo"?')


def test_yml_is_found_and_yaml_wins() -> None:
    write("profiles/p.yml", "seed: 1")
    assert resolve("p").profile.seed == 1
    write("profiles/p.yaml", "seed: 2")
    assert resolve("p").profile.seed == 2


def test_the_project_is_the_nearest_folder_with_its_sign(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b" / "c"
    deep.mkdir(parents=True)
    assert project_folder(deep) == deep
    (tmp_path / "a" / ".git").mkdir()
    assert project_folder(deep) == tmp_path / "a"
    (tmp_path / "a" / "b" / "gptoss-flow.yaml").touch()
    assert project_folder(deep) == tmp_path / "a" / "b"


def test_a_path_is_relative_to_the_file_that_says_it() -> None:
    write("team/low.yaml", "seed: 5")
    write("team/deep/top.yaml", "extends: ../low.yaml")
    assert resolve("team/deep/top.yaml").profile.seed == 5


def test_an_unknown_name_is_shown_where_it_was_named_with_a_guess_and_the_folders() -> None:
    write("profiles/top.yaml", "seed: 1\nextends: [base, dmeo]\n")
    said = refusal("top")
    assert said.startswith('profiles/top.yaml:2:17: there is no profile "dmeo"; did you mean "demo"?')
    assert "searched profiles, " in said
    assert str(SHIPPED) in said


def test_an_unknown_path_is_shown_where_it_was_named() -> None:
    write("profiles/top.yaml", "extends: ./none.yaml\n")
    assert refusal("top").startswith("profiles/top.yaml:1:10: there is no profile ./none.yaml; looked for ")
    write("profiles/nine.yaml", "seed: 9")
    assert '; did you mean "./nine.yaml"? looked for profiles/none.yaml' in refusal("top")


def test_a_name_that_is_a_file_here_is_guessed_to_mean_it() -> None:
    write("mine.yaml", "seed: 1")
    assert '"mine"; did you mean "./mine.yaml"? searched' in refusal("mine")


def test_a_model_is_no_profile_and_it_is_said_how_to_write_one() -> None:
    Path("m.gguf").write_bytes(b"GGUF")
    for ref in ("./m.gguf", "m.gguf", "/models/M.GGUF"):
        assert f'"{ref}" is not a profile; it is a model: write a profile for it' in refusal(ref)
        assert f'"extends: base" and "model: {{path: {ref}}}"' in refusal(ref)


@pytest.mark.parametrize(
    ("ref", "advice"),
    [
        ("http://127.0.0.1:8080", "for a server write {url: http://127.0.0.1:8080}"),
        ("ftp://example.com/c.yaml", "write git+https://"),
        ("git@example.com:team/repo.git", "write git+https://"),
        ("file:///srv/c.yaml", "write its path"),
    ],
)
def test_an_address_is_not_a_profile(ref: str, advice: str) -> None:
    assert f'"{ref}" is not a profile; {advice}' in refusal(ref)


def test_what_is_no_regular_file_of_a_fit_size_is_refused() -> None:
    os.mkfifo("pipe.yaml")
    Path("folder.yaml").mkdir()
    Path("huge.yaml").touch()
    os.truncate("huge.yaml", 2**30)
    for ref in ("./pipe.yaml", "./folder.yaml", "./huge.yaml", "/dev/zero"):
        assert ref.removeprefix("./") in refusal(ref)


def test_paths_of_a_profile_are_relative_to_its_own_file(tmp_path: Path) -> None:
    write(
        "team/low.yaml",
        """
        model: {path: models/a.gguf}
        chat_template_file: ~/t.jinja
        binary: ./bin/llama-server
        api_key: file:key
        lora: [{path: l.gguf}]
        slots_dir: /abs
        """,
    )
    write("profiles/top.yaml", "extends: ../team/low.yaml")
    merged = resolve("top").profile
    team = os.path.realpath(tmp_path / "team")
    assert os.path.realpath(merged.model.path or "") == f"{team}/models/a.gguf"
    assert merged.chat_template_file == str(tmp_path / "home" / "t.jinja")
    assert os.path.realpath(merged.binary or "") == f"{team}/bin/llama-server"
    assert os.path.realpath(merged.api_key.removeprefix("file:")) == f"{team}/key"
    assert os.path.realpath(merged.lora[0].path) == f"{team}/l.gguf"
    assert merged.slots_dir == "/abs"


def test_a_binary_that_is_a_name_stays_a_name() -> None:
    assert resolve({"binary": "llama-server"}).profile.binary == "llama-server"


# --- cycles ----------------------------------------------------------------------------------------------


def test_a_cycle_is_refused_with_the_place_of_every_edge() -> None:
    write("profiles/a.yaml", "extends: b\n")
    write("profiles/b.yaml", "extends: [base, c]\n")
    write("profiles/c.yaml", "seed: 1\nextends: a\n")
    said = refusal("a")
    assert said.startswith("profiles/a.yaml:1:10: profiles extend each other in a cycle: ")
    assert "a (profiles/a.yaml:1:10) -> b (profiles/b.yaml:1:17) -> c (profiles/c.yaml:2:10) -> a" in said


def test_a_profile_that_extends_itself_by_path_or_name_is_a_cycle() -> None:
    write("profiles/a.yaml", "extends: ./a.yaml\n")
    assert "cycle: a (profiles/a.yaml:1:10) -> a; take one of these out of its extends" in refusal("a")
    write("profiles/a.yaml", "extends: a\n")
    assert "cycle: a (profiles/a.yaml:1:10) -> a" in refusal("a")


def test_a_profile_of_the_same_name_extends_the_one_that_it_hides() -> None:
    write("profiles/demo.yaml", "extends: demo\nparallel: 9\n")
    resolved = resolve("demo")
    assert resolved.profile.parallel == 9
    assert resolved.profile.model.pypi is not None


def test_a_cycle_through_first_of_is_refused() -> None:
    write("profiles/a.yaml", "first_of: [demo, b]\n")
    write("profiles/b.yaml", "extends: a\n")
    assert "in a cycle: a (profiles/a.yaml:1:18) -> b (profiles/b.yaml:1:10) -> a" in refusal("a")


def test_an_endless_chain_is_refused_before_it_is_read_to_its_end() -> None:
    for number in range(40):
        write(f"profiles/p{number}.yaml", f"extends: p{number + 1}\n")
    assert "profiles extend each other more than 32 deep; let this one" in refusal("p0")


def test_profiles_that_fan_out_are_read_once_each() -> None:
    for level in range(20):
        write(f"profiles/p{level}.yaml", f"extends: [p{level + 1}, ./p{level + 1}.yaml, p{level + 1}]")
    write("profiles/p20.yaml", "seed: 20")
    assert resolve("p0").profile.seed == 20


# --- first_of --------------------------------------------------------------------------------------------


def test_local_is_gpt_oss_or_else_the_demo_model_each_with_its_own_request() -> None:
    gpt_oss, demo = resolve("local").alternatives
    assert (gpt_oss.name, demo.name) == ("local", "local")
    assert gpt_oss.profile.model.search == "gpt-oss"
    assert gpt_oss.profile.request.model_dump(exclude_none=True) == {}
    assert demo.profile.model.pypi is not None
    assert demo.profile.request == resolve("demo").profile.request


def test_what_is_laid_over_first_of_holds_for_every_alternative() -> None:
    alternatives = resolve({"extends": "local", "parallel": 3, "request": {"temperature": 0.5}}).alternatives
    assert [each.profile.parallel for each in alternatives] == [3, 3]
    assert [each.profile.request.temperature for each in alternatives] == [0.5, 0.5]
    demo = resolve("demo").profile.request.repeat_penalty
    assert demo is not None
    assert [each.profile.request.repeat_penalty for each in alternatives] == [None, demo]


def test_another_model_over_first_of_stands_in_every_alternative() -> None:
    alternatives = resolve({"extends": "local", "model": {"path": "/m/a.gguf"}}).alternatives
    assert [each.profile.model.sources for each in alternatives] == [["path"], ["path"]]


def test_a_plain_profile_has_one_alternative() -> None:
    demo = resolve("demo")
    assert demo.alternatives == (demo,)


def test_too_many_alternatives_are_refused() -> None:
    for level in range(5):
        write(f"profiles/p{level}.yaml", f"{{extends: p{level + 1}, first_of: [demo, q{level}]}}")
        write(f"profiles/q{level}.yaml", f"seed: {level}")
    write("profiles/p5.yaml", "seed: 5")
    assert "adds up to more than 16 alternatives; name fewer" in refusal("p0")


def test_a_problem_in_both_alternatives_is_said_once() -> None:
    said = refusal({"extends": "local", "ubatch": 4000})
    assert said == "inline profile:1:1: ubatch (4000) is above batch (2048); lower it"


# --- profiles of a flow ----------------------------------------------------------------------------------

FLOW = """
version: 1
servers:
  main: local
  big: {extends: ./profiles/big.yaml, context: 99}
  bigger: {extends: big, parallel: 1}
  demo: demo
  odd: {extends: nowhere}
  wrong:
    parallel: none
  twice: {extends: turn}
  turn: twice
  empty: base
  typo: {contxt: 99}
"""


def of_flow(server: str) -> ResolvedProfile:
    document = parse_document(FLOW, "flows/f.yaml")
    return resolve_profile(
        document.data["servers"][server],
        places=search_path(Path("flows"), Path.cwd()),
        base_dir=Path("flows"),
        document=document,
        path=("servers", server),
        needs_model=server == "empty",
    )


def test_an_inline_profile_is_merged_with_places_in_the_flow() -> None:
    write("flows/profiles/big.yaml", "{context: 5, seed: 6}")
    resolved = of_flow("big")
    assert (resolved.name, resolved.profile.context, resolved.profile.seed) == ("big", 99, 6)
    assert resolved.origin(("context",)) == Mark("flows/f.yaml", 5, 48)
    assert resolved.origin(("seed",)) == Mark("flows/profiles/big.yaml", 1, 20)


def test_the_flows_own_servers_come_first_for_an_inline_profile() -> None:
    write("flows/profiles/big.yaml", "{seed: 6}")
    resolved = of_flow("bigger")
    assert (resolved.profile.context, resolved.profile.seed, resolved.profile.parallel) == (99, 6, 1)


def test_a_server_may_have_the_name_of_its_profile() -> None:
    assert of_flow("demo").profile.model.pypi is not None


def test_problems_of_an_inline_profile_are_in_the_flow() -> None:
    with pytest.raises(Invalid, match=r'^flows/f\.yaml:8:18: there is no profile "nowhere"'):
        of_flow("odd")
    with pytest.raises(Invalid, match=r"^flows/f\.yaml:10:15: "):
        of_flow("wrong")
    with pytest.raises(
        Invalid, match=r'^flows/f\.yaml:14:10: unknown key "contxt" in server "typo"; did you mean'
    ):
        of_flow("typo")


def test_servers_that_mean_each_other_are_a_cycle() -> None:
    with pytest.raises(
        Invalid, match=r"cycle: twice \(flows/f.yaml:11:20\) -> turn \(flows/f.yaml:12:9\) -> twice"
    ):
        of_flow("twice")


def test_a_server_without_a_model_is_refused_where_it_is_named() -> None:
    with pytest.raises(Invalid, match=r"^flows/f\.yaml:13:10: profile base names no model; add model"):
        of_flow("empty")


def test_a_profile_without_a_model_is_refused_in_its_own_file_where_no_flow_names_it() -> None:
    write("profiles/p.yaml", "seed: 1")
    with pytest.raises(Invalid, match=r"^profiles/p\.yaml:1:1: profile p names no model"):
        resolve_profile("p", places=HERE, base_dir=Path.cwd())


# --- others ----------------------------------------------------------------------------------------------


def test_an_external_profile_has_an_address_and_no_model() -> None:
    profile = external_profile("http://localhost:8080/").profile
    assert (profile.resolved_engine, profile.url) == ("external", "http://localhost:8080")
    with pytest.raises(Invalid, match="is not a server's address"):
        external_profile("localhost")


def test_a_host_and_port_in_place_of_a_profile_is_told_to_be_no_address_yet() -> None:
    with pytest.raises(Invalid, match=r"if it is a server's address, write http://localhost:8080"):
        resolve_profile("localhost:8080", places=HERE, base_dir=Path.cwd())


def test_profiles_are_listed_once_each_with_what_they_are_for() -> None:
    write("profiles/demo.yaml", "description: Ours.")
    write("profiles/broken.yaml", "a: [")
    write("profiles/notes.txt", "no profile")
    known = list_profiles(HERE)
    listed = {each.name: each for each in known if each.hidden_by is None}
    assert set(listed) == {path.stem for path in SHIPPED.iterdir()} | {"broken"}
    assert (listed["demo"].path, listed["demo"].description) == (Path("profiles/demo.yaml"), "Ours.")
    assert listed["broken"].description.startswith("cannot be read: ")
    (hidden,) = [each for each in known if each.hidden_by]
    assert (hidden.path, hidden.hidden_by) == (SHIPPED / "demo.yaml", Path("profiles/demo.yaml"))


def test_the_shipped_base_says_what_the_defaults_are() -> None:
    base, default = resolve("base").profile, Profile()
    assert base.load_time() == default.load_time()
    assert base.model_dump(include=set(REQUEST_TIME) - ABOUT) == default.model_dump(
        include=set(REQUEST_TIME) - ABOUT
    )
    said = {key for key, *_ in resolve("base").origins}
    for key in Profile.model_fields:
        unset = getattr(default, key) in (None, [], {}, Params(), Rope(), ModelSource())
        assert (key in said) != unset or key in ABOUT | {"context", "api"}, key


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("{extends: [base], listen: {port: null}, mlock: null, kv_cache: null, model: {search: null}}", True),
        ("{context: 5, gpu_layers: all, idle_timeout: 10m, lora: [{path: a}]}", True),
        ("{context: none}", False),
        ("{contxt: null}", False),
        ("{lora: [{path: null}]}", False),
        ("{listen: {port: 99999}}", False),
    ],
)
def test_the_schema_takes_what_the_program_takes(text: str, fits: bool) -> None:
    write("profiles/p.yaml", text)
    assert Draft202012Validator(profile_schema()).is_valid(parse_document(text, "p").data) == fits
    if fits:
        resolve("p")
    else:
        refusal("p")


@pytest.mark.parametrize("name", sorted(path.stem for path in SHIPPED.glob("*.yaml")))
def test_every_shipped_profile_is_sound(name: str) -> None:
    resolved = resolve(name, SearchPath((SHIPPED,)))
    assert resolved.profile.description
    text = (SHIPPED / f"{name}.yaml").read_text()
    assert text.startswith("# yaml-language-server: $schema=../../schemas/profile.schema.json\n")


EXAMPLES = Path(__file__).parents[2] / "flows" / "profiles"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_example_profile_is_sound(path: Path) -> None:
    resolved = resolve(str(path), search_path(EXAMPLES.parent, Path.cwd()))
    assert (resolved.name, bool(resolved.profile.description)) == (path.stem, True)
    assert resolved.profile.model.sources
    assert read_document(path).text.startswith(
        "# yaml-language-server: $schema=../../schemas/profile.schema.json\n"
    )
