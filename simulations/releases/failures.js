"use strict";
/* Shows one failure of the page: the one that the address names, as in #failure=NAME&event=7.
 *
 * It runs before replay.js and grid.js, which draw the trace in #trace-data below #replay, and gives
 * these two names to the parts of the failure that is shown. Another failure is a fresh page, so
 * that a viewer never holds two traces.
 */
{
  const asked = () => new URLSearchParams(location.hash.slice(1)).get("failure") || "";
  const shown = asked();
  for (const section of document.querySelectorAll("section[data-failure]")) {
    const chosen = section.dataset.failure === shown;
    section.hidden = !chosen;
    if (!chosen) continue;
    const data = section.querySelector("script[type='application/json']");
    if (data) {
      data.id = "trace-data";
      section.querySelector("div[data-replay]").id = "replay";
    }
    section.scrollIntoView();
  }
  for (const link of document.querySelectorAll("a[data-shows]")) {
    if (link.dataset.shows === shown) link.setAttribute("aria-current", "true");
  }
  addEventListener("hashchange", () => {
    if (asked() !== shown) location.reload();
  });
}
