// Who this browser is: a random id that it keeps, so that after a reload it finds its jobs again.

const KEY = "steerscope.visitor";
const SHAPE = /^[0-9a-f]{32}$/;

export default function ({ data, setStateValue }) {
  let id = null;
  try {
    id = localStorage.getItem(KEY);
    if (!SHAPE.test(id ?? "")) {
      id = data.id;
      localStorage.setItem(KEY, id);
    }
  } catch {
    // Where the browser keeps nothing, the id that the server made holds until the reload.
    return;
  }
  if (id !== data.id) setStateValue("id", id);
}
