// Keys that work anywhere outside a field: each presses what a person could press, or goes to a field.

const CLASS = ".st-key-steerscope-";
const FIELDS = "input, textarea, select, [contenteditable=true], [role=combobox], [role=slider]";
let isListening = false;

function shown(selector) {
  return [...document.querySelectorAll(selector)].find((one) => one.getClientRects().length > 0 && !one.disabled);
}

function press(selector) {
  const button = shown(selector);
  button?.click();
  return button !== undefined;
}

function goTo(...names) {
  const field = names.map((name) => shown(`${CLASS}${name} :is(input, textarea)`)).find((one) => one !== undefined);
  field?.focus();
  field?.select();
  return field !== undefined;
}

const ACTIONS = {
  s: () => press(`${CLASS}share button`),
  e: () => press(`${CLASS}export button`),
  "?": () => press(`${CLASS}keys button`),
  "/": () => goTo("latent-search", "home_text", "store-sql", "text"),
  "[": () => press(`${CLASS}latent-previous button`),
  "]": () => press(`${CLASS}latent-next button`),
  r: () => press(`${CLASS}latent-random button`),
  Escape: () => press(`${CLASS}lab-stop button`) || press(`${CLASS}status button`),
};

function onKey(event) {
  const at = event.composedPath()[0];
  const isTyping = at instanceof Element && at.matches(FIELDS);
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || isTyping) return;
  if (Object.hasOwn(ACTIONS, event.key) && ACTIONS[event.key]()) event.preventDefault();
}

export default function () {
  if (isListening) return;
  document.addEventListener("keydown", onKey);
  document.documentElement.dataset.steerscopeKeys = "on";
  isListening = true;
}
