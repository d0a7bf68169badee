// Token strip: each token on its heat, one of them pinned.

const ARROW_WAIT_MS = 150;

function makeStrip(root) {
  const section = root.querySelector(".strip");
  const list = section.querySelector(".tokens");
  const details = section.querySelector("details");
  const tooltip = makeTooltip(section);
  let send = () => {};
  const pin = makePin((a, b) => a === b, (position) => send("pin", { position }));
  let data = null;
  let values = new Float32Array(0);
  let ranking = null;
  let boxes = [];

  const rankLine = (position) => {
    ranking ??= ranksOf(values);
    return ranking.ranks[position] ? `rank ${ranking.ranks[position]} of ${ranking.n}` : "";
  };
  const words = (position) => {
    const place = `position ${position} of ${data.tokens.length}`;
    if (data.values === null) return [place];
    return [place, sayWithUnit(values[position], data.unit), rankLine(position)].filter(Boolean);
  };
  const positionOf = (event) => boxes.indexOf(event.target.closest?.(".tokens > span"));

  function showTip(position) {
    if (position < 0) return tooltip.hide();
    tooltip.show(tokenSpan(data.tokens[position], "token"), words(position), boxes[position].getBoundingClientRect());
  }

  function build() {
    const scale = makeScale(values, data);
    boxes = data.tokens.map((token, position) => {
      const box = tokenSpan(token, data.special[position] ? "special" : "");
      const value = values[position];
      if (data.values !== null && !Number.isNaN(value)) {
        const colour = scale.colour(value);
        box.style.background = `rgb(${colour.join(" ")})`;
        box.style.color = inkOn(colour);
      }
      box.setAttribute("role", "option");
      box.tabIndex = -1;
      return box;
    });
    const pieces = boxes.flatMap((box, position) => (data.tokens[position].includes("\n") ? [box, create("br")] : [box]));
    list.replaceChildren(...pieces);
    const legend = section.querySelector(".legend");
    if (data.values === null) legend.replaceChildren();
    else drawLegend(legend, scale, data);
  }

  function name() {
    boxes.forEach((box, position) =>
      box.setAttribute("aria-label", [plainGlyphs(data.tokens[position]), ...words(position)].join(", ")),
    );
  }

  function mark() {
    const pinned = pin.get();
    boxes.forEach((box, position) => {
      box.setAttribute("aria-selected", String(position === pinned));
      box.tabIndex = position === (pinned ?? 0) ? 0 : -1;
    });
    revealIn(list, boxes[pinned]);
  }

  function toggle(position) {
    pin.set(pin.get() === position ? null : position);
    mark();
  }

  function go(position) {
    const next = Math.max(0, Math.min(boxes.length - 1, position));
    if (pin.get() !== null) {
      pin.set(next, ARROW_WAIT_MS);
      mark();
    }
    boxes.forEach((box, place) => (box.tabIndex = place === next ? 0 : -1));
    revealIn(list, boxes[next]);
    boxes[next].focus({ preventScroll: true });
    showTip(next);
  }

  function onKey(event) {
    const at = positionOf(event);
    if (at < 0) return;
    const unpin = () => pin.get() !== null && toggle(pin.get());
    actOnKey(event, textMoves(boxes, at, { go, toggle, unpin }));
  }

  function fillTable() {
    if (!details.open) return;
    const table = create("table");
    table.append(create("caption", "", data.label), headerRow(["position", "token", "value", "rank"]));
    const body = create("tbody");
    data.tokens.forEach((token, position) => {
      const row = create("tr");
      const head = create("th", "", String(position));
      head.scope = "row";
      const value = data.values === null ? NO_VALUE : sayWithUnit(values[position], data.unit);
      const rank = data.values === null ? "" : rankLine(position);
      row.append(head, create("td", "", plainGlyphs(token)), create("td", "", value), create("td", "", rank));
      body.append(row);
    });
    table.append(body);
    section.querySelector(".table").replaceChildren(table);
  }

  list.addEventListener("click", (event) => {
    const position = positionOf(event);
    if (position >= 0) toggle(position);
  });
  list.addEventListener("keydown", onKey);
  list.addEventListener("pointerover", (event) => showTip(positionOf(event)));
  list.addEventListener("pointerleave", tooltip.hide);
  list.addEventListener("focusin", (event) => event.target.matches(":focus-visible") && showTip(positionOf(event)));
  list.addEventListener("focusout", tooltip.hide);
  details.addEventListener("toggle", fillTable);

  function update(news, setTriggerValue) {
    send = setTriggerValue;
    const isNew = data === null || JSON.stringify({ ...data, pinned: 0 }) !== JSON.stringify({ ...news, pinned: 0 });
    data = news;
    if (isNew) {
      values = data.values === null ? new Float32Array(0) : decodeFloats(data.values);
      ranking = null;
      section.querySelector(".label").textContent = data.label;
      list.setAttribute("aria-label", data.label);
      list.style.maxHeight = `${data.max_height}px`;
      tooltip.hide();
      build();
      name();
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

export default oneEachRoot(makeStrip);
