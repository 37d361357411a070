"use strict";
(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const byId = (id) => document.getElementById(id);
  const query = byId("query"), found = byId("found"), root = document.documentElement;
  const units = all("details.unit");
  const chips = all(".chip");
  byId("bar").hidden = byId("keys").hidden = false;

  /* theme */
  const themes = ["system", "light", "dark"];
  const keep = (value) => { try { localStorage.setItem("gptoss-flow-theme", value); } catch { /* a file may not */ } };
  const kept = () => { try { return localStorage.getItem("gptoss-flow-theme"); } catch { return null; } };
  const setTheme = (theme) => {
    if (theme === "system") delete root.dataset.theme; else root.dataset.theme = theme;
    byId("theme").textContent = `Theme: ${theme}`;
  };
  const nextTheme = () => {
    const theme = themes[(themes.indexOf(root.dataset.theme ?? "system") + 1) % themes.length];
    setTheme(theme);
    keep(theme);
  };
  byId("theme").addEventListener("click", nextTheme);
  setTheme(themes.includes(kept()) ? kept() : "system");

  /* search: what a unit says itself, that of its parts not among it */
  const own = new Map();
  const said = (unit) => {
    if (!own.has(unit)) {
      let text = "";
      const walk = (node) => {
        for (const child of node.childNodes) {
          if (child.nodeType === Node.TEXT_NODE) text += child.data;
          else if (!child.classList?.contains("parts") && !child.classList?.contains("preview")) walk(child);
        }
      };
      walk(unit);
      own.set(unit, text.toLowerCase());
    }
    return own.get(unit);
  };
  const outcome = (unit) => chips.find((chip) => unit.classList.contains(chip.dataset.outcome))?.dataset.outcome;
  const wantedOutcomes = () => chips.filter((chip) => chip.getAttribute("aria-pressed") === "true").map((chip) => chip.dataset.outcome);
  const MOST = 2000;
  let places = [], at = -1;

  const marks = (wanted) => {
    places = [];
    at = -1;
    const walker = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node && places.length < MOST; node = walker.nextNode()) {
      const text = node.data.toLowerCase();
      if (node.parentElement.closest(".preview, #keys, #nothing")) continue;
      for (let i = text.indexOf(wanted); i >= 0 && places.length < MOST; i = text.indexOf(wanted, i + wanted.length)) {
        if (i + wanted.length > node.data.length) break;
        const range = new Range();
        range.setStart(node, i);
        range.setEnd(node, i + wanted.length);
        places.push(range);
      }
    }
    places = places.filter((range) => !range.startContainer.parentElement.closest(".unit[hidden]"));
  };

  const filter = () => {
    const wanted = query.value.trim().toLowerCase(), outcomes = wantedOutcomes();
    const shown = new Set();
    for (const unit of units) {
      if (wanted && !said(unit).includes(wanted)) continue;
      if (outcomes.length && !outcomes.includes(outcome(unit))) continue;
      shown.add(unit);
      for (let each = unit.parentElement.closest("details.unit"); each; each = each.parentElement.closest("details.unit")) {
        shown.add(each);
        if (wanted || outcomes.length) each.open = true;
      }
    }
    for (const unit of units) unit.hidden = !shown.has(unit);
    byId("nothing").hidden = shown.size > 0 || units.length === 0;
    places = [];
    if (wanted) marks(wanted);
    if (globalThis.Highlight) CSS.highlights.set("found", new Highlight(...places));
    const number = places.length === MOST ? `${MOST}+` : places.length;
    found.textContent = wanted ? `${number} place${places.length === 1 ? "" : "s"}` : "";
  };

  const reveal = (node) => {
    for (let each = node.parentElement?.closest("details"); each; each = each.parentElement.closest("details")) each.open = true;
  };
  const go = (by) => {
    if (!places.length) return;
    at = (at + by + places.length) % places.length;
    const node = places[at].startContainer;
    reveal(node);
    const box = places[at].getBoundingClientRect();
    scrollTo({ top: scrollY + box.top - innerHeight / 3 });
    found.textContent = `${at + 1} of ${places.length === MOST ? `${MOST}+` : places.length}`;
  };

  let timer = 0;
  query.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(filter, 80); });
  query.addEventListener("keydown", (event) => {
    if (event.key === "Enter") {
      event.preventDefault();
      if (at < 0) { clearTimeout(timer); filter(); }
      go(event.shiftKey ? -1 : 1);
    }
  });
  for (const chip of chips) chip.addEventListener("click", () => {
    chip.setAttribute("aria-pressed", String(chip.getAttribute("aria-pressed") !== "true"));
    filter();
  });

  /* unfold */
  const unfold = () => {
    const button = byId("unfold"), open = button.getAttribute("aria-pressed") !== "true";
    for (const unit of units) unit.open = open;
    button.setAttribute("aria-pressed", String(open));
    button.textContent = open ? "Fold all" : "Unfold all";
  };
  byId("unfold").addEventListener("click", unfold);

  /* links into steps */
  const show = (id) => {
    const unit = byId(id);
    if (!unit?.classList.contains("unit")) return;
    if (unit.hidden) { query.value = ""; for (const chip of chips) chip.setAttribute("aria-pressed", "false"); filter(); }
    reveal(unit);
    unit.open = true;
    unit.scrollIntoView();
    unit.firstElementChild.focus({ preventScroll: true });
  };
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.('a[href^="#step-"], [data-to]');
    if (!link) return;
    const id = link.dataset.to ?? (link.getAttribute("href").slice(1));
    event.preventDefault();
    history.replaceState(null, "", `#${id}`);
    show(id);
  });
  if (location.hash.startsWith("#step-")) show(location.hash.slice(1));

  /* panes: of each version of each pane, the one that lived at the change that is shown */
  const change = byId("change");
  if (change) {
    const panes = all("#panes > .pane"), told = all(".changes > li"), first = Number(change.min);
    let playing = 0;
    const stop = () => { clearInterval(playing); playing = 0; byId("play").textContent = "Play"; };
    const goTo = (number) => {
      const here = Math.max(first, Math.min(Number(change.max), number));
      change.value = here;
      for (const pane of panes) {
        const since = Number(pane.dataset.since), lives = since <= here && here < Number(pane.dataset.until);
        pane.classList.toggle("past", !lives);
        pane.classList.toggle("now", lives && since === here);
      }
      byId("told").textContent = `${here} of ${change.max}: ${told[here - first].textContent}`;
      if (here === Number(change.max)) stop();
    };
    const by = (count) => { stop(); goTo(Number(change.value) + count); };
    byId("stepper").hidden = false;
    change.addEventListener("input", () => by(0));
    byId("back").addEventListener("click", () => by(-1));
    byId("forth").addEventListener("click", () => by(1));
    byId("play").addEventListener("click", () => {
      if (playing) return stop();
      if (change.value === change.max) goTo(first);
      byId("play").textContent = "Pause";
      playing = setInterval(() => goTo(Number(change.value) + 1), 900);
    });
    goTo(Number(change.max));
  }

  /* keys */
  const walkable = () => units.filter((unit) => {
    if (unit.hidden) return false;
    for (let each = unit.parentElement.closest("details.unit"); each; each = each.parentElement.closest("details.unit"))
      if (!each.open || each.hidden) return false;
    return true;
  }).map((unit) => unit.firstElementChild);
  const step = (by) => {
    const heads = walkable();
    if (!heads.length) return;
    const inside = document.activeElement?.closest?.("details.unit")?.firstElementChild;
    const here = heads.indexOf(inside);
    const next = heads[Math.max(0, Math.min(heads.length - 1, here < 0 ? 0 : here + by))];
    next.focus({ preventScroll: true });
    next.scrollIntoView({ block: "nearest" });
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = document.activeElement === query;
    const onHead = document.activeElement?.matches?.("details.unit > summary");
    if (event.key === "Escape") {
      if (query.value || wantedOutcomes().length) {
        query.value = "";
        for (const chip of chips) chip.setAttribute("aria-pressed", "false");
        filter();
      }
      document.activeElement?.blur();
    } else if (typing) return;
    else if (event.key === "/") { event.preventDefault(); query.focus(); query.select(); }
    else if (event.key === "j" || (event.key === "ArrowDown" && onHead)) { event.preventDefault(); step(1); }
    else if (event.key === "k" || (event.key === "ArrowUp" && onHead)) { event.preventDefault(); step(-1); }
    else if (event.key === "ArrowRight" && onHead) { event.preventDefault(); document.activeElement.parentElement.open = true; }
    else if (event.key === "ArrowLeft" && onHead) { event.preventDefault(); document.activeElement.parentElement.open = false; }
    else if (event.key === "e") unfold();
    else if (event.key === "t") nextTheme();
  });
})();
