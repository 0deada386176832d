/* Copy buttons: each copies the text of the element that its data-copy names. */
document.addEventListener("click", async ({ target }) => {
  const button = target.closest("button[data-copy]");
  if (!button) return;
  const source = document.getElementById(button.dataset.copy);
  const done = await copyText(source);
  const before = button.dataset.label || button.textContent;
  button.dataset.label = before;
  button.textContent = done ? "copied" : "select and copy";
  setTimeout(() => { button.textContent = before; }, 1500);
});

async function copyText(source) {
  try {
    await navigator.clipboard.writeText(source.textContent);
    return true;
  } catch {
    // Pages from a file may be refused the clipboard; a selection can still be copied.
    const range = document.createRange();
    range.selectNodeContents(source);
    getSelection().removeAllRanges();
    getSelection().addRange(range);
    return document.execCommand("copy");
  }
}
