// What the token strip and the heat grid share: colours, numbers in words, ranks, token glyphs, tooltip, pin, legend.
// Text from a model or a person reaches the page through textContent only.

const NO_VALUE = "no value";
const STEPS = 256;

/** The float32 numbers of a little-endian base64 string. */
function decodeFloats(base64) {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  return new Float32Array(bytes.buffer);
}

/** A number with three digits, as ui.charts.say_number writes it. */
function say(value) {
  if (Number.isNaN(value)) return NO_VALUE;
  const sign = value < 0 ? "−" : "";
  const size = Math.abs(value);
  if (size === Infinity) return `${sign}∞`;
  if (size === 0) return "0";
  const [digits, power] = size.toExponential(2).split("e");
  const exponent = Number(power);
  if (exponent < -3 || exponent >= 15) return `${sign}${Number(digits)}×10${superscript(exponent)}`;
  const step = Math.max(0, Math.floor(exponent / 3));
  return `${sign}${Number(`${digits}e${exponent - 3 * step}`)}${["", " k", " M", " G", " T"][step]}`;
}

function superscript(exponent) {
  const digits = [...String(Math.abs(exponent))].map((digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit]).join("");
  return (exponent < 0 ? "⁻" : "") + digits;
}

function sayWithUnit(value, unit) {
  return Number.isNaN(value) || !unit ? say(value) : `${say(value)} ${unit}`;
}

/** Rank of each value, 1 for the largest, equal values sharing the better rank, 0 where there is no value. */
function ranksOf(values) {
  const order = Array.from(values.keys()).filter((index) => !Number.isNaN(values[index]));
  order.sort((a, b) => (values[a] > values[b] ? -1 : values[a] < values[b] ? 1 : 0));
  const ranks = new Uint32Array(values.length);
  order.forEach((index, place) => {
    const before = order[place - 1];
    ranks[index] = place > 0 && values[before] === values[index] ? ranks[before] : place + 1;
  });
  return { ranks, n: order.length };
}

function parseHex(hex) {
  return [1, 3, 5].map((start) => parseInt(hex.slice(start, start + 2), 16));
}

/** STEPS colours [r, g, b] that run evenly through the palette's stops. */
function ramp(palette) {
  const stops = palette.map(parseHex);
  return Array.from({ length: STEPS }, (_, step) => {
    const place = (step / (STEPS - 1)) * (stops.length - 1);
    const left = Math.min(Math.floor(place), stops.length - 2);
    return stops[left].map((part, i) => Math.round(part + (stops[left + 1][i] - part) * (place - left)));
  });
}

/** The range of colours: lowest and highest value, and where each value falls between them. */
function makeScale(values, { log, diverging, palette, span }) {
  let low = Infinity;
  let high = -Infinity;
  const wanted = (value) => Number.isFinite(value) && (!log || value > 0);
  for (const value of span ?? values) {
    if (!wanted(value)) continue;
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  if (low > high) [low, high] = [NaN, NaN];
  if (diverging) {
    high = Math.max(Math.abs(low), Math.abs(high)) || 1;
    low = -high;
  }
  const flat = !(high > low);
  const curve = log && !diverging ? Math.log : (value) => value;
  const share = (value) => {
    if (flat) return value > high ? 1 : 0;
    if (log && !diverging && value <= 0) return 0;
    return Math.min(1, Math.max(0, (curve(value) - curve(low)) / (curve(high) - curve(low))));
  };
  const colours = ramp(palette);
  const middle = log && !diverging ? Math.sqrt(low * high) : (low + high) / 2;
  return {
    low,
    high,
    middle,
    flat,
    colour: (value) => colours[Math.round(share(value) * (STEPS - 1))],
  };
}

/** Black or white, whichever reads better on the colour; the worse case is still 4.58 to 1. */
function inkOn([red, green, blue]) {
  const linear = [red, green, blue].map((part) => {
    const share = part / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  const light = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  return 1.05 / (light + 0.05) > (light + 0.05) / 0.05 ? "#fff" : "#000";
}

const MARKS = new Map([[" ", "·"], ["\n", "⏎"], ["\t", "⇥"], ["\r", "␍"]]);
const INVISIBLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{Cn}]/u;
const JOINER = "\u200d";

/** The token's characters, spaces and what cannot be seen replaced by marks: [text, is a mark][]. */
function glyphsOf(token) {
  if (token === "") return [["∅", true]];
  const glyphs = [];
  const add = (text, isMark) => {
    const last = glyphs[glyphs.length - 1];
    if (last && last[1] === isMark) last[0] += text;
    else glyphs.push([text, isMark]);
  };
  for (const character of token) {
    if (MARKS.has(character)) add(MARKS.get(character), true);
    else if (/\p{Zs}/u.test(character)) add("␣", true);
    else if (character !== JOINER && INVISIBLE.test(character)) {
      add(`U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`, true);
    } else add(character, false);
  }
  return glyphs;
}

function plainGlyphs(token) {
  return glyphsOf(token).map(([text]) => text).join("");
}

function create(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

function tokenSpan(token, className) {
  const span = create("span", className);
  span.dir = "auto";
  for (const [text, isMark] of glyphsOf(token)) span.append(isMark ? create("span", text.startsWith("·") ? "mark thin" : "mark", text) : text);
  return span;
}

/** A box in the top layer above the rectangle it speaks of, so that no container cuts it off. */
function makeTooltip(parent) {
  const box = create("div", "tip");
  box.setAttribute("role", "tooltip");
  box.popover = "manual";
  parent.append(box);
  const hide = () => {
    if (box.matches(":popover-open")) box.hidePopover();
  };
  const show = (head, lines, target) => {
    box.replaceChildren(head, ...lines.map((line) => (line instanceof Node ? line : create("div", "", line))));
    if (!box.matches(":popover-open")) box.showPopover();
    const width = box.offsetWidth;
    const left = Math.max(4, Math.min(innerWidth - width - 4, target.left + target.width / 2 - width / 2));
    const above = target.top - box.offsetHeight - 8;
    box.style.left = `${left}px`;
    box.style.top = `${above > 4 ? above : target.bottom + 8}px`;
  };
  addEventListener("scroll", hide, true);
  return { show, hide, dispose: () => removeEventListener("scroll", hide, true) };
}

/** The box above (way < 0) or below the one at a position, nearest in its line; the same one where there is none. */
function lineStep(boxes, position, way) {
  const here = boxes[position];
  const middle = here.offsetLeft + here.offsetWidth / 2;
  const isBeyond = (box) => (way < 0 ? box.offsetTop < here.offsetTop - 4 : box.offsetTop > here.offsetTop + 4);
  const beyond = boxes.filter(isBeyond);
  if (!beyond.length) return position;
  const line = way < 0 ? beyond[beyond.length - 1].offsetTop : beyond[0].offsetTop;
  const distance = (box) => Math.abs(box.offsetLeft + box.offsetWidth / 2 - middle);
  const row = beyond.filter((box) => Math.abs(box.offsetTop - line) <= 4);
  return boxes.indexOf(row.reduce((best, box) => (distance(box) < distance(best) ? box : best)));
}

/** Scrolls a list so that one of its boxes is seen. */
function revealIn(list, box) {
  if (!box) return;
  const room = 8;
  const top = box.offsetTop - list.offsetTop;
  if (top - room < list.scrollTop) list.scrollTop = top - room;
  else if (top + box.offsetHeight + room > list.scrollTop + list.clientHeight) {
    list.scrollTop = top + box.offsetHeight + room - list.clientHeight;
  }
}

/** Whether two places of two numbers each, null for none, are the same. */
function isSamePlace(a, b) {
  return a === b || (a !== null && b !== null && a[0] === b[0] && a[1] === b[1]);
}

/** The pin as seen here and as the server last said it; what was sent and comes back late does not move it. */
function makePin(isSame, send) {
  const SENT_LIVES_MS = 5000;
  let current = null;
  let heard;
  let sent = [];
  let timer = 0;
  return {
    get: () => current,
    hear(said) {
      if (heard !== undefined && isSame(heard, said)) return;
      heard = said;
      sent = sent.filter(({ at }) => Date.now() - at < SENT_LIVES_MS);
      const place = sent.findIndex(({ value }) => isSame(value, said));
      sent = place >= 0 ? sent.slice(place + 1) : [];
      if (sent.length === 0 && timer === 0) current = said;
    },
    set(value, wait_ms = 0) {
      current = value;
      clearTimeout(timer);
      timer = setTimeout(() => {
        timer = 0;
        sent.push({ value, at: Date.now() });
        send(value);
      }, wait_ms);
    },
    dispose: () => clearTimeout(timer),
  };
}

/** Fills the legend: a bar of the palette with its lowest, middle and highest number and the unit. */
function drawLegend(legend, scale, { palette, unit, log }) {
  const known = !Number.isNaN(scale.low);
  const bar = create("div", "bar");
  bar.style.background = `linear-gradient(to right, ${palette.join(", ")})`;
  const numbers = create("div", "numbers");
  const shown = scale.flat ? [scale.low] : [scale.low, scale.middle, scale.high];
  numbers.append(...shown.map((value) => create("span", "", say(value))));
  const name = [unit, log ? "log" : ""].filter(Boolean).join(", ");
  legend.replaceChildren(...(known ? [create("span", "unit", name), create("div", "ruler")] : [NO_VALUE]));
  legend.querySelector(".ruler")?.append(bar, numbers);
}

function headerRow(names) {
  const row = create("tr");
  for (const name of names) {
    const cell = create("th", "", name);
    cell.scope = "col";
    row.append(cell);
  }
  const head = create("thead");
  head.append(row);
  return head;
}

/** Does what a component has for the key that was pressed, unless the key is part of a shortcut. */
function actOnKey(event, moves) {
  if (event.ctrlKey || event.metaKey || event.altKey || !moves[event.key]) return;
  event.preventDefault();
  event.stopPropagation();
  moves[event.key]();
}

/** What keys do on boxes of text, where the one at a place has the keyboard. */
function textMoves(boxes, at, { go, toggle, unpin }) {
  return {
    ArrowRight: () => go(at + 1),
    ArrowLeft: () => go(at - 1),
    ArrowDown: () => go(lineStep(boxes, at, 1)),
    ArrowUp: () => go(lineStep(boxes, at, -1)),
    Home: () => go(0),
    End: () => go(boxes.length - 1),
    Enter: () => toggle(at),
    " ": () => toggle(at),
    Escape: unpin,
  };
}

/** The function that Streamlit calls at each run: one instance a root, made by `make`, until its place is gone. */
function oneEachRoot(make) {
  const made = new WeakMap();
  return ({ data, parentElement, setTriggerValue }) => {
    if (!made.has(parentElement)) made.set(parentElement, make(parentElement));
    const one = made.get(parentElement);
    one.update(data, setTriggerValue);
    return () => {
      one.dispose();
      made.delete(parentElement);
    };
  };
}
