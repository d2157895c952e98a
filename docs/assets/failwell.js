// Lights up one path of a drawing. A list item with data-lights="id id ..." holds a button; the ids are groups of the
// inline SVG. Without this script the list is complete as text.
document.addEventListener("click", (event) => {
  const button = event.target instanceof Element && event.target.closest("[data-lights] button");
  if (!button) return;
  const pressed = button.getAttribute("aria-pressed") !== "true";
  const groups = button.closest("[data-lights]").dataset.lights.split(/\s+/).map((id) => document.getElementById(id));
  const drawing = groups.find(Boolean)?.closest("svg");
  if (!drawing) return;
  for (const lit of drawing.querySelectorAll(".fw-lit")) lit.classList.remove("fw-lit");
  for (const other of document.querySelectorAll('[data-lights] button[aria-pressed="true"]')) {
    const first = other.closest("[data-lights]").dataset.lights.split(/\s+/)[0];
    if (drawing.contains(document.getElementById(first))) other.setAttribute("aria-pressed", "false");
  }
  button.setAttribute("aria-pressed", String(pressed));
  drawing.classList.toggle("fw-has-lit", pressed);
  if (pressed) for (const group of groups) group?.classList.add("fw-lit");
});

// A drawing that is wider than the screen shows where it starts, not a corner.
addEventListener("load", () => {
  for (const frame of document.querySelectorAll(".fw-drawing")) {
    const start = frame.scrollWidth > frame.clientWidth && frame.querySelector("svg .fw-node, svg .node");
    if (!start) continue;
    const [box, view] = [start.getBoundingClientRect(), frame.getBoundingClientRect()];
    frame.scrollLeft += box.left + box.width / 2 - view.left - view.width / 2;
  }
});

// A table that is wider than the screen scrolls in a frame of Material's; the keyboard has to reach that frame.
const frames = () => {
  for (const frame of document.querySelectorAll(".md-typeset__scrollwrap")) {
    const scrolls = frame.scrollWidth > frame.clientWidth;
    const title = [...frame.querySelectorAll("thead th")].map((cell) => cell.textContent.trim()).filter(Boolean).join(", ");
    for (const [name, value] of Object.entries({ tabindex: "0", role: "region", "aria-label": `Table: ${title}` })) {
      if (scrolls) frame.setAttribute(name, value);
      else frame.removeAttribute(name);
    }
  }
};
addEventListener("load", frames);
addEventListener("resize", frames);

// Code that is wider than the page scrolls, so the keyboard must reach it. The theme sees to that only when the code
// comes into view, which is too late for who looks at the page as a whole.
for (const code of document.querySelectorAll("pre > code:not([tabindex])")) code.tabIndex = 0
