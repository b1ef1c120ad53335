// Runs before the page is painted, so that a stored choice does not flash the other theme.
"use strict";
(() => {
  // Shown when the charts have their places, so that nothing moves.
  document.documentElement.classList.add("unwired");
  let choice = null;
  try {
    choice = localStorage.getItem("kdn-theme");
  } catch {
    // Without storage the system's choice holds.
  }
  if (choice === "light" || choice === "dark") document.documentElement.dataset.theme = choice;
})();
