"use strict";
// The card of a token's state stands beside the token that the pointer or the keyboard is on.
let shown = null; // { mark, card }

function hide() {
  if (shown) shown.card.hidden = true;
  shown = null;
}

function show(mark) {
  hide();
  const card = document.getElementById(mark.getAttribute("aria-describedby"));
  const { id, at } = mark.dataset;
  card.querySelector(".this").textContent = `${mark.textContent} · token ${id} at ${at}`;
  card.hidden = false;
  shown = { mark, card };
  place();
}

function place() {
  if (!shown) return;
  const beside = shown.mark.getClientRects()[0], size = shown.card.getBoundingClientRect();
  const below = beside.bottom + 8, above = beside.top - size.height - 8;
  shown.card.style.top = `${below + size.height < innerHeight || above < 0 ? below : above}px`;
  shown.card.style.left = `${Math.max(8, Math.min(beside.left, innerWidth - size.width - 16))}px`;
}

const described = (event) => event.target.closest?.("mark[aria-describedby]");

for (const kind of ["pointerover", "focusin"])
  document.addEventListener(kind, (event) => {
    const mark = described(event);
    if (mark) show(mark);
    else hide();
  });
document.addEventListener("focusout", hide);
document.addEventListener("scroll", place, { passive: true });

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") return hide();
  const mark = described(event);
  if (!mark) return;
  const marks = [...mark.parentElement.querySelectorAll("mark[tabindex]")], here = marks.indexOf(mark);
  const goal = { ArrowRight: here + 1, ArrowLeft: here - 1, Home: 0, End: marks.length - 1 }[event.key];
  if (!marks[goal]) return;
  event.preventDefault();
  mark.tabIndex = -1;
  marks[goal].tabIndex = 0;
  marks[goal].focus();
});
