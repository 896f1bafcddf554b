// chosen.js - pages that show a list, the worst first, and the one of it that the address names: asked for
// every two seconds, while the page is seen and not paused.
import { heed } from "./actions.js";
import { ask as fetchKnown } from "./sign-in.js";
import { text } from "./tables.js";
import { put } from "./words.js";

const ASK_MS = 2_000;
const STATES = { live: "Live", offline: "Offline, asking again", forbidden: "No right to read this" };

const byId = (id) => document.getElementById(id);
const view = { isPaused: false, isAsking: false, again: false, timer: 0 };

class Forbidden extends Error {}

/** What the address names. */
const chosen = () => {
  try { return decodeURIComponent(location.hash.slice(1)); } catch { return ""; }
};

function showState(state) {
  byId("connection").dataset.state = state;
  put(byId("connection"), STATES[state]);
}

/** null: it is not there. Throws when the service cannot say. */
async function get(path) {
  const response = await fetchKnown(path);
  if (response.status === 404) return null;
  if (response.status === 403) throw new Forbidden(path);
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  heed(response);
  return response.json();
}

/**
 * page: list, the address and the table of all; one, the section of the chosen; key, the member of an item that
 * is its name; drawAll(answer), which returns the items of the table's rows; drawOne(answer).
 */
export function follow(page) {
  function markChosen(items) {
    const rows = byId(page.list).tBodies[0].rows;
    items.forEach((item, i) => rows[i].setAttribute("aria-current", String(text(item[page.key]) === chosen())));
  }

  async function ask() {
    const items = page.drawAll((await get(page.list)) ?? {});
    markChosen(items);
    if (!chosen() && items.length) history.replaceState(null, "", `#${encodeURIComponent(text(items[0][page.key]))}`);
    const name = chosen();
    const one = name ? await get(`${page.list}/${encodeURIComponent(name)}`) : null;
    if (name !== chosen()) { // another one was chosen meanwhile
      view.again = true;
      return;
    }
    if (one) page.drawOne(one);
    else byId(page.one).hidden = true;
    if (!one && name && !items.some((item) => text(item[page.key]) === name)) { // it is gone: the next turn shows the first
      history.replaceState(null, "", "#");
    }
    markChosen(items);
  }

  async function turn() {
    clearTimeout(view.timer);
    if (view.isAsking) {
      view.again = true;
      return;
    }
    if (!view.isPaused && !document.hidden) {
      view.isAsking = true;
      view.again = false;
      try {
        await ask();
        showState("live");
      } catch (error) {
        showState(error instanceof Forbidden ? "forbidden" : "offline");
      }
      view.isAsking = false;
    }
    view.timer = setTimeout(turn, view.again ? 0 : ASK_MS);
  }

  byId("pause").addEventListener("click", () => {
    view.isPaused = !view.isPaused;
    byId("pause").setAttribute("aria-pressed", String(view.isPaused));
    put(byId("pause"), view.isPaused ? "Resume" : "Pause");
    turn();
  });
  addEventListener("hashchange", turn);
  document.addEventListener("visibilitychange", turn);
  turn();
}
