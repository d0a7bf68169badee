// Heat grid: rows (layer 0 at the bottom) by columns (tokens, left to right) on a canvas, one cell pinned.

const ARROW_WAIT_MS = 150;
const MIN_CELL = 6;
const MAX_CELL = 96;
const LABEL_WIDTH = 48;
const LABEL_HEIGHT = 34;
const ROW_LABEL_HEIGHT = 14;
const GAP_FROM = 10;
const MAX_CANVAS = 16000;
const TABLE_COLUMNS = 64;

/** A canvas with one pixel a cell, the last row of values on top; a cell without a value stays clear. */
function cellImage(values, n_rows, n_columns, scale) {
  const image = new ImageData(n_columns, n_rows);
  for (let row = 0; row < n_rows; row++) {
    for (let column = 0; column < n_columns; column++) {
      const value = values[row * n_columns + column];
      if (Number.isNaN(value)) continue;
      image.data.set([...scale.colour(value), 255], 4 * ((n_rows - 1 - row) * n_columns + column));
    }
  }
  const small = new OffscreenCanvas(n_columns, n_rows);
  small.getContext("2d").putImageData(image, 0, 0);
  return small;
}

function makeGrid(root) {
  const section = root.querySelector(".grid");
  const find = (selector) => section.querySelector(selector);
  const [scroller, sheet, canvas, details] = [".scroller", ".sheet", "canvas", "details"].map(find);
  const tooltip = makeTooltip(section);
  let send = () => {};
  const pin = makePin(isSamePlace, (cell) => send("pin", { cell }));
  let data = null;
  let values = null;
  let ranking = null;
  let image = null;
  let cursor = null;
  let cell = { width: MIN_CELL, height: MIN_CELL };
  let drawn = "";

  const n_rows = () => data.row_names.length;
  const n_columns = () => data.column_names.length;
  const valueAt = ([row, column]) => values[row * n_columns() + column];
  const boxOf = ([row, column]) => ({
    left: column * cell.width,
    top: (n_rows() - 1 - row) * cell.height,
    width: cell.width,
    height: cell.height,
  });

  function rowName(row) {
    const name = data.row_names[row];
    return name.startsWith(data.row_axis) ? name : `${data.row_axis} ${name}`;
  }

  function lines(at) {
    ranking ??= ranksOf(values);
    const rank = ranking.ranks[at[0] * n_columns() + at[1]];
    const place = `${rowName(at[0])} · ${data.column_axis} ${at[1]}`;
    return [place, sayWithUnit(valueAt(at), data.unit), rank ? `rank ${rank} of ${ranking.n}` : ""].filter(Boolean);
  }

  function showTip(at) {
    const box = boxOf(at);
    const origin = canvas.getBoundingClientRect();
    const target = new DOMRect(origin.left + box.left, origin.top + box.top, box.width, box.height);
    tooltip.show(tokenSpan(data.column_names[at[1]], "token"), lines(at), target);
  }

  function place(element, at) {
    element.style.display = at === null ? "none" : "block";
    if (at === null) return;
    for (const [side, size] of Object.entries(boxOf(at))) element.style[side] = `${size}px`;
  }

  function mark() {
    place(find(".cursor.pin"), pin.get());
    place(find(".cursor.at"), isSamePlace(cursor, pin.get()) ? null : cursor);
    labelRows();
    labelColumns();
  }

  function measure() {
    const room = scroller.clientWidth;
    cell.width = Math.min(MAX_CELL, Math.max(MIN_CELL, room / n_columns()));
    scroller.style.overflowX = cell.width * n_columns() > room + 1 ? "scroll" : "hidden";
    cell.height = Math.max(1, (scroller.clientHeight - LABEL_HEIGHT) / n_rows());
  }

  function draw() {
    const [width, height] = [cell.width * n_columns(), cell.height * n_rows()];
    const ratio = Math.min(devicePixelRatio || 1, MAX_CANVAS / width);
    sheet.style.width = canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    canvas.width = Math.max(1, Math.round(width * ratio));
    canvas.height = Math.max(1, Math.round(height * ratio));
    const pen = canvas.getContext("2d");
    const theme = getComputedStyle(section);
    pen.imageSmoothingEnabled = false;
    hatch(pen, theme.getPropertyValue("--st-secondary-background-color"), theme.getPropertyValue("--st-border-color"), ratio);
    pen.drawImage(image, 0, 0, canvas.width, canvas.height);
    if (Math.min(cell.width, cell.height) >= GAP_FROM) gaps(pen, theme.getPropertyValue("--st-background-color"), ratio);
  }

  function hatch(pen, ground, stroke, ratio) {
    pen.fillStyle = ground;
    pen.fillRect(0, 0, canvas.width, canvas.height);
    if (!values.some(Number.isNaN)) return;
    pen.strokeStyle = stroke;
    pen.lineWidth = ratio;
    pen.beginPath();
    for (let x = -canvas.height; x < canvas.width; x += 6 * ratio) {
      pen.moveTo(x, canvas.height);
      pen.lineTo(x + canvas.height, 0);
    }
    pen.stroke();
  }

  function gaps(pen, colour, ratio) {
    pen.fillStyle = colour;
    const thick = Math.max(1, Math.round(ratio));
    for (let row = 1; row < n_rows(); row++) pen.fillRect(0, Math.round(row * cell.height * ratio), canvas.width, thick);
    for (let column = 1; column < n_columns(); column++) {
      pen.fillRect(Math.round(column * cell.width * ratio), 0, thick, canvas.height);
    }
  }

  function labelRows() {
    const step = Math.ceil(ROW_LABEL_HEIGHT / cell.height);
    const pinned = pin.get()?.[0];
    const labels = data.row_names.flatMap((name, row) => {
      const isNearPin = pinned !== undefined && row !== pinned && Math.abs(row - pinned) < step;
      if ((row % step && row !== pinned) || isNearPin) return [];
      const label = create("span", row === pinned ? "on" : "", name);
      label.style.top = `${(n_rows() - row - 0.5) * cell.height}px`;
      return [label];
    });
    find(".rows").replaceChildren(...labels);
  }

  function labelColumns() {
    const step = Math.ceil(LABEL_WIDTH / cell.width);
    const pinned = pin.get()?.[1];
    const labels = data.column_names.flatMap((name, column) => {
      const isNearPin = pinned !== undefined && column !== pinned && Math.abs(column - pinned) < step;
      if ((column % step && column !== pinned) || isNearPin) return [];
      const label = create("div", [column === pinned ? "on" : "", step > 1 ? "sparse" : ""].join(" "));
      const left = column * cell.width;
      label.style.left = `${left}px`;
      label.style.width = `${Math.min(step * cell.width, n_columns() * cell.width - left)}px`;
      label.append(tokenSpan(name, "token"), create("span", "", String(column)));
      return [label];
    });
    find(".columns").replaceChildren(...labels);
  }

  function sizeRowGutter() {
    const longest = Math.max(...data.row_names.map((name) => name.length));
    find(".rows").style.width = `calc(${Math.min(longest, 12)}ch + 10px)`;
  }

  function layout() {
    if (data === null || !scroller.clientWidth) return;
    measure();
    const key = [cell.width, cell.height, devicePixelRatio].join();
    if (key !== drawn) draw();
    drawn = key;
    mark();
  }

  function reveal([, column]) {
    const left = column * cell.width;
    if (left < scroller.scrollLeft) scroller.scrollLeft = left - 2 * cell.width;
    else if (left + cell.width > scroller.scrollLeft + scroller.clientWidth) {
      scroller.scrollLeft = left + 3 * cell.width - scroller.clientWidth;
    }
  }

  function cellUnder(event) {
    const row = n_rows() - 1 - Math.floor(event.offsetY / cell.height);
    const column = Math.floor(event.offsetX / cell.width);
    return row < 0 || row >= n_rows() || column < 0 || column >= n_columns() ? null : [row, column];
  }

  function setPin(at, wait_ms) {
    pin.set(at, wait_ms);
    mark();
    if (details.open) fillTable();
  }

  function toggle(at) {
    setPin(isSamePlace(at, pin.get()) ? null : at);
  }

  function go(row, column) {
    const clamp = (value, limit) => Math.max(0, Math.min(limit - 1, value));
    cursor = [clamp(row, n_rows()), clamp(column, n_columns())];
    if (pin.get() !== null) setPin(cursor, ARROW_WAIT_MS);
    else mark();
    reveal(cursor);
    showTip(cursor);
    find(".live").textContent = [plainGlyphs(data.column_names[cursor[1]]), ...lines(cursor)].join(", ");
  }

  function onKey(event) {
    const [row, column] = pin.get() ?? cursor ?? [0, 0];
    actOnKey(event, {
      ArrowRight: () => go(row, column + 1),
      ArrowLeft: () => go(row, column - 1),
      ArrowUp: () => go(row + 1, column),
      ArrowDown: () => go(row - 1, column),
      Home: () => go(row, 0),
      End: () => go(row, n_columns() - 1),
      PageUp: () => go(n_rows() - 1, column),
      PageDown: () => go(0, column),
      Enter: () => toggle([row, column]),
      " ": () => toggle([row, column]),
      Escape: () => setPin(null),
    });
  }

  function tableWindow() {
    const middle = pin.get()?.[1] ?? 0;
    const first = Math.max(0, Math.min(n_columns() - TABLE_COLUMNS, middle - TABLE_COLUMNS / 2));
    return [first, Math.min(n_columns(), first + TABLE_COLUMNS)];
  }

  function fillTable() {
    if (!details.open) return;
    const [first, end] = tableWindow();
    const columns = Array.from({ length: end - first }, (_, place) => first + place);
    const part = end - first < n_columns() ? `; ${data.column_axis}s ${first} to ${end - 1} of ${n_columns()}, around the pin` : "";
    const caption = `${data.label}${data.unit ? ` (${data.unit})` : ""}${part}`;
    const table = create("table");
    const names = columns.map((column) => `${column} ${plainGlyphs(data.column_names[column])}`);
    table.append(create("caption", "", caption), headerRow([data.row_axis, ...names]));
    const body = create("tbody");
    data.row_names.forEach((name, row) => {
      const line = create("tr");
      const head = create("th", "", name);
      head.scope = "row";
      line.append(head, ...columns.map((column) => create("td", "", say(valueAt([row, column])))));
      body.append(line);
    });
    table.append(body);
    find(".table").replaceChildren(table);
  }

  canvas.addEventListener("click", (event) => {
    const at = cellUnder(event);
    if (at === null) return;
    cursor = at;
    toggle(at);
  });
  canvas.addEventListener("pointermove", (event) => {
    const at = cellUnder(event);
    if (at === null) return;
    place(find(".cursor.at"), isSamePlace(at, pin.get()) ? null : at);
    showTip(at);
  });
  canvas.addEventListener("pointerleave", () => {
    tooltip.hide();
    place(find(".cursor.at"), null);
  });
  canvas.addEventListener("keydown", onKey);
  canvas.addEventListener("focus", () => {
    if (!canvas.matches(":focus-visible")) return;
    cursor = pin.get() ?? cursor ?? [0, 0];
    mark();
    showTip(cursor);
  });
  canvas.addEventListener("blur", () => {
    tooltip.hide();
    place(find(".cursor.at"), null);
  });
  details.addEventListener("toggle", fillTable);
  const observer = new ResizeObserver(layout);
  observer.observe(scroller);

  function update(news, setTriggerValue) {
    send = setTriggerValue;
    const isNew = data === null || JSON.stringify({ ...data, pinned: 0 }) !== JSON.stringify({ ...news, pinned: 0 });
    data = news;
    if (isNew) {
      values = decodeFloats(data.values);
      ranking = null;
      cursor = null;
      const scale = makeScale(values, data);
      image = cellImage(values, n_rows(), n_columns(), scale);
      section.style.height = `${data.height}px`;
      find(".label").textContent = data.label;
      find(".axis").textContent = data.row_axis;
      canvas.setAttribute("aria-label", `${data.label}: ${n_rows()} rows by ${n_columns()} columns`);
      drawLegend(find(".legend"), scale, data);
      sizeRowGutter();
      tooltip.hide();
    }
    const before = pin.get();
    pin.hear(data.pinned);
    drawn = "";
    layout();
    if (pin.get() !== null && !isSamePlace(before, pin.get())) reveal(pin.get());
    fillTable();
  }

  function dispose() {
    observer.disconnect();
    pin.dispose();
    tooltip.dispose();
  }
  return { update, dispose };
}

export default oneEachRoot(makeGrid);
