// Sorts a table by a click on the head of a column.
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  table.querySelectorAll("th").forEach((head, column) => {
    head.tabIndex = 0;
    head.title = "Sort by this column";
    const key = (row) => row.cells[column].innerText.trim();
    const number = (text) => parseFloat(text.replace(/^~/, "").replace("\u2212", "-"));
    const sort = () => {
      const down = head.getAttribute("aria-sort") === "descending"
        || (head.className !== "n" && head.getAttribute("aria-sort") === null);
      table.querySelectorAll("th").forEach((h) => h.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "ascending" : "descending");
      const sign = down ? 1 : -1;
      const order = (a, b) => {
        const [x, y] = [key(a), key(b)];
        // Empty cells stay last.
        if (x === "" || y === "") return (x === "") - (y === "");
        return sign * (head.className === "n" ? number(x) - number(y) : x.localeCompare(y));
      };
      body.append(...[...body.rows].sort(order));
    };
    head.addEventListener("click", sort);
    head.addEventListener("keydown", (event) => event.key === "Enter" && sort());
  });
}

// Shows the value of a mark at once, also after a tap; without this script, browsers show its title.
const value = document.createElement("div");
value.id = "value";
value.hidden = true;
document.body.append(value);
for (const title of document.querySelectorAll("figure svg title")) {
  const mark = title.parentNode;
  mark.dataset.value = title.textContent;
  mark.setAttribute("aria-label", title.textContent);
  title.remove();
}
for (const kind of ["pointerover", "click"]) {
  document.addEventListener(kind, (event) => {
    const mark = event.target.closest("[data-value]");
    value.hidden = !mark;
    if (!mark) return;
    value.textContent = mark.dataset.value;
    const [at, own] = [mark.getBoundingClientRect(), value.getBoundingClientRect()];
    const left = Math.min(at.right + 4, document.documentElement.clientWidth - own.width - 4);
    value.style.left = `${Math.max(4, left)}px`;
    value.style.top = `${Math.max(4, at.top - own.height - 4)}px`;
  });
}
document.addEventListener("scroll", () => { value.hidden = true; }, true);
