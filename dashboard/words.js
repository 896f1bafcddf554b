// words.js - figures and times as people read them; shared by the pages.
export const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
export const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

const LABEL_MAX = 60; // characters of a name that are shown
export const clip = (text, max = LABEL_MAX) => (text.length > max ? `${text.slice(0, max)}…` : text);
export const clock = (ms) => new Date(ms).toLocaleTimeString([], { hour12: false });

export function duration(ms) {
  if (!Number.isFinite(ms)) return "–";
  if (Math.abs(ms) < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  if (ms < 3_600_000) return `${Math.floor(ms / 60_000)} min`;
  return `${whole.format(ms / 3_600_000)} h`;
}

export function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
