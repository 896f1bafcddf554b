// actions.js - what the reader may do about what is shown, as its answer says it: a button with `data-action`
// that would only be refused is off, and the page says why.
import { put } from "./words.js";

/** An answer that says nothing of actions changes nothing. */
export function heed(response) {
  const allowed = response.headers.get("millrace-actions");
  const refusal = response.headers.get("millrace-actions-refused");
  if (allowed === null && refusal === null) return;
  const names = (allowed ?? "").split(", ");
  for (const button of document.querySelectorAll("[data-action]")) button.disabled = !names.includes(button.dataset.action);
  const reason = document.getElementById("refused");
  reason.hidden = refusal === null;
  put(reason, refusal === null ? "" : `Not for you to do: ${refusal}`);
}
