// Text panes: the same prompt written on several times, each token on its heat, the likeliest tokens at hand.

const PANE_WAIT_MS = 150;
const HELD_PX = 160;
const SCALE = { log: false, diverging: false };

/** The likeliest tokens of the clean and of the steered model side by side, with their log-probabilities. */
function topsTable(top, own) {
  const table = create("table", "tops");
  table.append(headerRow(top.steered ? ["clean", "log p", "steered", "log p"] : ["likeliest", "log p"]));
  const body = create("tbody");
  top.clean.forEach((_, rank) => {
    const row = create("tr");
    for (const side of [top.clean, top.steered]) {
      if (!side) continue;
      const [text, logprob] = side[rank];
      const cell = create("td", text === own ? "own" : "");
      cell.append(tokenSpan(text, ""));
      row.append(cell, create("td", "", say(logprob)));
    }
    body.append(row);
  });
  table.append(body);
  return table;
}

function makePanes(root) {
  const section = root.querySelector(".panes");
  const grid = section.querySelector(".grid");
  const pinnedBox = section.querySelector(".pinned");
  const details = section.querySelector("details");
  const tooltip = makeTooltip(section);
  let send = () => {};
  const pin = makePin(isSamePlace, (place) => send("pin", { place }));
  let data = null;
  let scale = null;
  let shown = [];

  function words(number, step) {
    const pane = data.panes[number];
    const lines = [`new token ${step + 1} of ${pane.tokens.length}`];
    if (pane.departs === step) lines.push("departs from the clean text here");
    if (shown[number].kl) lines.push(`KL from clean ${sayWithUnit(shown[number].kl[step], data.unit)}`);
    if (pane.logprobs) lines.push(`log p of this token: ${pane.logprobs[step].map(say).join(" | ")}`);
    return lines;
  }

  function placeOf(event) {
    const box = event.target.closest?.("[role=option]");
    const number = shown.findIndex(({ boxes }) => boxes.includes(box));
    return number < 0 ? null : [number, shown[number].boxes.indexOf(box)];
  }

  function about(number, step) {
    const pane = data.panes[number];
    const lines = words(number, step);
    return pane.tops ? [...lines, topsTable(pane.tops[step], pane.tokens[step])] : lines;
  }

  function showTip(place) {
    if (place === null) return tooltip.hide();
    const [number, step] = place;
    const token = tokenSpan(data.panes[number].tokens[step], "token");
    tooltip.show(token, about(number, step), shown[number].boxes[step].getBoundingClientRect());
  }

  function tokenBox(pane, kl, step) {
    const classes = [pane.special[step] ? "special" : "", pane.departs === step ? "departs" : ""];
    const box = tokenSpan(pane.tokens[step], classes.filter(Boolean).join(" "));
    if (kl && !Number.isNaN(kl[step])) {
      const colour = scale.colour(kl[step]);
      box.style.background = `rgb(${colour.join(" ")})`;
      box.style.color = inkOn(colour);
    }
    box.setAttribute("role", "option");
    box.tabIndex = -1;
    return box;
  }

  function buildPane(pane, number) {
    const article = create("article", "pane");
    article.style.setProperty("--accent", pane.colour);
    const head = create("h4");
    head.append(create("span", "name", pane.title), create("span", "words", pane.words));
    const list = create("div", "tokens");
    list.setAttribute("role", "listbox");
    list.setAttribute("aria-orientation", "horizontal");
    list.setAttribute("aria-label", `${pane.title}, ${data.label}`);
    const kl = pane.kl === null ? null : decodeFloats(pane.kl);
    const boxes = pane.tokens.map((_, step) => tokenBox(pane, kl, step));
    const before = data.prompt.map((token, place) => tokenSpan(token, data.prompt_special[place] ? "prompt special" : "prompt"));
    before.forEach((box) => box.setAttribute("role", "presentation"));
    const broken = (texts) => (box, place) => (texts[place].includes("\n") ? [box, create("br")] : [box]);
    list.append(...before.flatMap(broken(data.prompt)), ...boxes.flatMap(broken(pane.tokens)));
    if (data.is_live) list.append(create("span", "cursor"));
    article.append(head, list);
    return { article, list, boxes, kl, number };
  }

  /** While tokens come the lists keep one height, so that nothing below them moves under a hand. */
  function hold() {
    if (data.is_live && !grid.classList.contains("live")) {
      const height = Math.max(HELD_PX, ...shown.map(({ list }) => list.offsetHeight));
      grid.style.setProperty("--held", `${height}px`);
    }
    grid.classList.toggle("live", data.is_live);
  }

  function build() {
    hold();
    const tops = shown.map(({ list }) => list.scrollTop);
    scale = makeScale(new Float32Array(0), { ...SCALE, palette: data.palette, span: data.span });
    shown = data.panes.map(buildPane);
    grid.replaceChildren(...shown.map(({ article }) => article));
    shown.forEach(({ list }, number) => {
      list.scrollTop = data.is_live ? list.scrollHeight : tops[number] ?? 0;
    });
    section.querySelector(".label").textContent = data.label;
    const legend = section.querySelector(".legend");
    if (data.span === null) legend.replaceChildren();
    else drawLegend(legend, scale, { palette: data.palette, unit: data.unit, log: false });
    shown.forEach(({ boxes, number }) =>
      boxes.forEach((box, step) =>
        box.setAttribute("aria-label", [plainGlyphs(data.panes[number].tokens[step]), ...words(number, step)].join(", ")),
      ),
    );
  }

  function mark() {
    const pinned = pin.get();
    shown.forEach(({ boxes, number }) => {
      const here = pinned !== null && pinned[0] === number ? pinned[1] : null;
      boxes.forEach((box, step) => {
        box.setAttribute("aria-selected", String(step === here));
        box.tabIndex = step === (here ?? 0) ? 0 : -1;
      });
    });
    const box = pinned === null ? undefined : shown[pinned[0]]?.boxes[pinned[1]];
    if (!box || !data.panes[pinned[0]].tops) return pinnedBox.replaceChildren();
    const [number, step] = pinned;
    const name = create("div");
    name.append(`${data.panes[number].title} · `, tokenSpan(data.panes[number].tokens[step], "token"));
    const lines = about(number, step).map((line) => (line instanceof Node ? line : create("div", "", line)));
    pinnedBox.replaceChildren(name, ...lines);
  }

  function toggle(place) {
    pin.set(isSamePlace(pin.get(), place) ? null : place);
    mark();
  }

  function go(number, step) {
    const { boxes, list } = shown[number];
    const next = Math.max(0, Math.min(boxes.length - 1, step));
    if (pin.get() !== null) {
      pin.set([number, next], PANE_WAIT_MS);
      mark();
    }
    boxes.forEach((box, place) => (box.tabIndex = place === next ? 0 : -1));
    revealIn(list, boxes[next]);
    boxes[next].focus({ preventScroll: true });
    showTip([number, next]);
  }

  function onKey(event) {
    const place = placeOf(event);
    if (place === null) return;
    const [number, at] = place;
    const acts = {
      go: (step) => go(number, step),
      toggle: () => toggle(place),
      unpin: () => pin.get() !== null && toggle(pin.get()),
    };
    actOnKey(event, textMoves(shown[number].boxes, at, acts));
  }

  function fillTable() {
    if (!details.open) return;
    const table = create("table");
    table.append(create("caption", "", data.label), headerRow(["pane", "new token", "text", "KL", "clean | steered"]));
    const body = create("tbody");
    data.panes.forEach((pane, number) =>
      pane.tokens.forEach((token, step) => {
        const row = create("tr");
        const kl = shown[number].kl ? sayWithUnit(shown[number].kl[step], data.unit) : "";
        const top = pane.tops?.[step];
        const firsts = top ? [top.clean, top.steered].filter(Boolean).map((side) => plainGlyphs(side[0][0])) : [];
        const cells = [pane.title, String(step + 1), plainGlyphs(token), kl, firsts.join(" | ")];
        row.append(...cells.map((cell) => create("td", "", cell)));
        body.append(row);
      }),
    );
    table.append(body);
    section.querySelector(".table").replaceChildren(table);
  }

  grid.addEventListener("click", (event) => {
    const place = placeOf(event);
    if (place !== null) toggle(place);
  });
  grid.addEventListener("keydown", onKey);
  grid.addEventListener("pointerover", (event) => showTip(placeOf(event)));
  grid.addEventListener("pointerleave", tooltip.hide);
  grid.addEventListener("focusin", (event) => event.target.matches(":focus-visible") && showTip(placeOf(event)));
  grid.addEventListener("focusout", tooltip.hide);
  details.addEventListener("toggle", fillTable);

  function update(news, setTriggerValue) {
    send = setTriggerValue;
    const asText = (one) => JSON.stringify({ ...one, pinned: 0, is_stale: 0 });
    const isNew = data === null || asText(data) !== asText(news);
    data = news;
    grid.classList.toggle("stale", data.is_stale);
    grid.setAttribute("aria-busy", String(data.is_live || data.is_stale));
    if (isNew) {
      tooltip.hide();
      build();
      fillTable();
    }
    pin.hear(data.pinned);
    mark();
  }

  function dispose() {
    pin.dispose();
    tooltip.dispose();
  }
  return { update, dispose };
}

export default oneEachRoot(makePanes);
