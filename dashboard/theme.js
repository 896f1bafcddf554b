// theme.js - the reader's choice of light or dark. A classic script in <head>, so that the page is
// never painted in the wrong colours; the button is wired once it exists.
(() => {
  const KEY = "millrace-theme";
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");

  const read = () => {
    try { return localStorage.getItem(KEY); } catch { return null; } // storage may be blocked
  };
  const write = (theme) => {
    try { localStorage.setItem(KEY, theme); } catch { /* the choice lasts as long as the page */ }
  };
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);

  const chosen = read();
  if (chosen === "light" || chosen === "dark") root.dataset.theme = chosen;

  addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    const show = () => {
      button.textContent = isDark() ? "Light" : "Dark";
      button.setAttribute("aria-label", `Switch to the ${isDark() ? "light" : "dark"} theme`);
      dispatchEvent(new Event("themechange"));
    };
    button.addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      write(root.dataset.theme);
      show();
    });
    system.addEventListener("change", show);
    show();
  });
})();
