// Order by dragging: a card of the lab's recipe follows its handle, and a line shows where it would go.

const CARD = "[class*='st-key-steerscope-lab-step-']";
const HANDLE = "[aria-label='drag_indicator icon']";
const LINE = "position:fixed;height:3px;border-radius:2px;background:#C2410C;z-index:1000;pointer-events:none;";
const STARTS_PX = 4;
let send = () => {};
let drag = null;
let isListening = false;

function cards() {
  const place = (card) => Number(/steerscope-lab-step-(\d+)/.exec(card.className)[1]);
  return [...document.querySelectorAll(CARD)].sort((a, b) => place(a) - place(b));
}

/** Where the dragged card would come: behind all others whose middle is above the pointer. */
function targetOf(y) {
  const others = drag.cards.filter((card) => card !== drag.card);
  const middles = others.map((card) => card.getBoundingClientRect()).map((box) => (box.top + box.bottom) / 2);
  return middles.filter((middle) => middle < y).length;
}

function showLine(to) {
  const others = drag.cards.filter((card) => card !== drag.card);
  const box = (others[to] ?? others[to - 1]).getBoundingClientRect();
  const top = others[to] === undefined ? box.bottom + 2 : box.top - 5;
  drag.line.style.cssText = `${LINE}left:${box.left}px;width:${box.width}px;top:${top}px`;
}

function onDown(event) {
  const handle = event.button === 0 ? event.target.closest?.(HANDLE) : null;
  const card = handle?.closest(CARD);
  const found = cards();
  if (!card || found.length < 2) return;
  event.preventDefault();
  drag = { card, cards: found, from: found.indexOf(card), to: null, y: event.clientY, line: document.createElement("div") };
}

function onMove(event) {
  if (drag === null || (drag.to === null && Math.abs(event.clientY - drag.y) < STARTS_PX)) return;
  if (drag.to === null) document.body.append(drag.line);
  drag.card.style.opacity = "0.4";
  drag.to = targetOf(event.clientY);
  showLine(drag.to);
}

function end(isTaken) {
  if (drag === null) return;
  drag.card.style.opacity = "";
  drag.line.remove();
  const { from, to } = drag;
  drag = null;
  if (isTaken && to !== null && to !== from) send("order", { from, to });
}

function onKey(event) {
  if (drag === null || event.key !== "Escape") return;
  event.stopPropagation();
  end(false);
}

export default function ({ setTriggerValue }) {
  send = setTriggerValue;
  if (isListening) return;
  document.addEventListener("pointerdown", onDown);
  document.addEventListener("pointermove", onMove);
  document.addEventListener("pointerup", () => end(true));
  document.addEventListener("pointercancel", () => end(false));
  document.addEventListener("keydown", onKey, { capture: true });
  isListening = true;
}
