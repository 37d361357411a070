"""A profile by its reference, merged with all that it extends, and where each of its values was written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gptoss_flow.errors import Invalid, Mark, Problem
from gptoss_flow.lang.document import Document, read_document
from gptoss_flow.lang.elsewhere import NO_SOURCES, Sources
from gptoss_flow.lang.profile import FILE_KEYS, Profile
from gptoss_flow.lang.profile_chains import Chain, Chains, shown
from gptoss_flow.lang.profile_environ import lay_environ
from gptoss_flow.lang.profile_layers import KeyPath, Origin, Variable, Written, lay_over, says
from gptoss_flow.lang.profile_places import SearchPath
from gptoss_flow.lang.profile_rules import contradictions

NO_ENVIRON: Mapping[str, str] = {}
"""No environment variables: a profile as its files alone say it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedProfile:
    """A merged and checked profile, and where it comes from."""

    name: str
    profile: Profile
    origins: Mapping[KeyPath, Origin] = field(default_factory=dict)
    """Where each value comes from, a place in a file or an environment variable; what is not here is a default."""
    chain: tuple[str, ...] = ()
    """The files that were merged, in order; one from elsewhere with its pin."""
    fallbacks: tuple[ResolvedProfile, ...] = ()
    """The other alternatives, where one of the files says `first_of`: `profile` is the first alternative."""

    @property
    def alternatives(self) -> tuple[ResolvedProfile, ...]:
        """All of them in order; just this one where there is no `first_of`. See `server.model.choose_model`."""
        return (replace(self, fallbacks=()), *self.fallbacks)

    def origin(self, path: KeyPath) -> Origin | None:
        """Where the value at `path`, or what it is a part of, comes from; None for a default."""
        for length in range(len(path), 0, -1):
            if origin := self.origins.get(path[:length]):
                return origin
        return None


def resolve_profile(
    ref: str | Mapping[str, Any],
    *,
    places: SearchPath,
    base_dir: Path,
    document: Document | None = None,
    path: KeyPath = (),
    needs_model: bool = True,
    environ: Mapping[str, str] = NO_ENVIRON,
    sources: Sources = NO_SOURCES,
) -> ResolvedProfile:
    """The profile that a name, a path or an inline mapping means. Raises `Invalid` with every problem of a file.

    `document` and `path` say where `ref` is written: in a flow, `("servers", name)`; a name in an inline profile
    then means another of the flow's servers first. Relative paths are relative to `base_dir`. A profile that names
    no model is refused unless `needs_model` is false: `base` is one, fit to be shown but not to be run. The
    variables of `environ` change what shipped profiles say (see `lang.profile_environ`). What lies elsewhere is
    read through `sources`, which raises `Unavailable` where it cannot be had.
    """
    chains = Chains(places, base_dir, document, sources).of(ref, path)
    mark = Written(document, path).value() if document else None
    merged = [_merge(chain, environ) for chain in chains]
    problems = dict.fromkeys(problem for _, found in merged for problem in found)
    for (resolved, _), chain in zip(merged, chains, strict=True):
        profile = resolved.profile
        if needs_model and not profile.model.sources and profile.resolved_engine != "external":
            said, hint = f"profile {resolved.name} names no model", "add model: {path: …}, or extend local or demo"
            problems[Problem(mark or chain[-1].written.value(), said, hint)] = None
    if problems:
        raise Invalid(*sorted(problems, key=lambda problem: problem.mark or Mark("", 0, 0)))
    first, *others = [resolved for resolved, _ in merged]
    return replace(first, fallbacks=tuple(others))


def external_profile(url: str, name: str = "external") -> ResolvedProfile:
    """The profile of somebody else's server. Raises `Invalid` if `url` is none."""
    try:
        return ResolvedProfile(name=name, profile=Profile(engine="external", url=url))
    except ValidationError as error:
        said = error.errors(include_url=False, include_input=False)[0]["msg"]
        raise Invalid(Problem(None, f'"{url}" {said}')) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownProfile:
    """A profile that can be found by its name."""

    name: str
    path: Path
    description: str
    """Of a broken one, what is wrong."""
    owner: str
    """Whose it is, see `SearchPath.owners`."""
    hidden_by: Path | None
    """The file that its name means instead, because it is found first."""


def list_profiles(places: SearchPath) -> list[KnownProfile]:
    """Every profile on the search path, by name, those that others hide behind them."""
    names, listed = places.names(), []
    for path in places.files():
        try:
            data = read_document(path, shown(path)).data
            description = data.get("description") or "" if isinstance(data, dict) else "is no mapping"
        except Invalid as error:
            description = f"cannot be read: {error.problems[0].message}"
        first, owner = names[path.stem], places.owners.get(path.parent, "")
        hidden_by = None if first == path else first
        listed.append(
            KnownProfile(name=path.stem, path=path, description=str(description), owner=owner, hidden_by=hidden_by)
        )
    order = list(names)
    return sorted(listed, key=lambda known: order.index(known.name))


def _merge(chain: Chain, environ: Mapping[str, str]) -> tuple[ResolvedProfile, list[Problem]]:
    """The layers merged, the last one winning, and what is wrong with the whole."""
    data: dict[str, Any] = {}
    origins: dict[KeyPath, Origin] = {}
    for layer in chain:
        # A name and a description belong to one file.
        own = FILE_KEYS if layer is chain[-1] else FILE_KEYS | {"name", "description"}
        lay_over(data, origins, {key: value for key, value in layer.data.items() if key not in own}, layer.written)
    last = chain[-1]
    data.setdefault("name", last.name)
    problems = lay_environ(data, origins, chain, environ)
    resolved = ResolvedProfile(
        name=last.name,
        profile=Profile.model_validate(data),
        origins=origins,
        chain=tuple(dict.fromkeys(layer.source for layer in chain)),
    )
    for found in contradictions(resolved.profile):
        match resolved.origin(found.path):
            case Variable() as variable:
                problems.append(Problem(None, f"{variable}: {found.message}", found.hint))
            case mark:
                problems.append(Problem(mark or _written(chain, found.path), found.message, found.hint))
    return resolved, problems


def _written(chain: Chain, path: KeyPath) -> Mark:
    """Where the last file that says something at `path` says it: of a mapping no origin is kept."""
    writer = next((layer for layer in reversed(chain) if says(layer.data, path)), None)
    return writer.written.value(path) if writer else chain[-1].written.value()
