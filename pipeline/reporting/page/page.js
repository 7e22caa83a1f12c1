"use strict";
// Tables sort by the column whose heading is pressed; a third press restores the original order.
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  const original = [...body.rows];
  const heads = [...table.tHead.rows[0].cells];
  const valueOf = (row, column) => {
    const text = row.cells[column].textContent.trim();
    const sorted = row.cells[column].querySelector(".n");
    const written = (sorted ? sorted.textContent : text).replace(/−/g, "-").replace(/,/g, "");
    const factor = { kB: 1e3, MB: 1e6, GB: 1e9 }[written.split(" ")[1]] || 1;
    const minutes = written.match(/^(\d+) min (\d+) s$/);
    if (minutes) return 60 * Number(minutes[1]) + Number(minutes[2]);
    const number = parseFloat(written);
    return Number.isNaN(number) ? text : number * factor;
  };
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const before = head.getAttribute("aria-sort");
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      if (before === "ascending") {
        body.append(...original);
        return;
      }
      const sign = before === "descending" ? 1 : -1;
      head.setAttribute("aria-sort", before === "descending" ? "ascending" : "descending");
      const compare = (a, b) => {
        const x = valueOf(a, column);
        const y = valueOf(b, column);
        if (typeof x === "number" && typeof y === "number") return sign * (x - y);
        if (typeof x !== typeof y) return typeof x === "number" ? -1 : 1;
        return -sign * x.localeCompare(y, "en");
      };
      body.append(...[...original].sort(compare));
    });
  });
}
// The entry of the section in view is marked in the table of contents.
const links = new Map([...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]));
const strip = document.querySelector("nav");
const watcher = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      for (const link of links.values()) link.removeAttribute("aria-current");
      const link = links.get(entry.target.id);
      link.setAttribute("aria-current", "true");
      if (strip.scrollWidth > strip.clientWidth) strip.scrollLeft = link.offsetLeft - 16;
    }
  },
  { rootMargin: "-20% 0px -75% 0px" },
);
for (const section of document.querySelectorAll("section")) watcher.observe(section);
