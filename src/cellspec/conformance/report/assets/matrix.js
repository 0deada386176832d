/* The filter of the matrix: a text, and verdicts. Without scripts the whole matrix is there. */
{
  const box = document.getElementById("filter-text");
  const open = document.getElementById("filter-open");
  const apply = () => {
    const wanted = box.value.trim().toLowerCase();
    for (const part of document.querySelectorAll("#matrix tbody")) {
      let left = 0;
      for (const row of part.querySelectorAll("tr.clause")) {
        const text = row.textContent.toLowerCase();
        const hit = text.includes(wanted) && (!open.checked || row.dataset.open === "yes");
        row.hidden = !hit;
        left += hit;
      }
      part.hidden = left === 0;
    }
  };
  if (box && open) {
    document.getElementById("filter").hidden = false;
    box.addEventListener("input", apply);
    open.addEventListener("change", apply);
    apply();
  }
}
