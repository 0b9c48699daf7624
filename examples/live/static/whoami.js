// Who are you to me: sends the form, and shows what the application makes of it.

import { addRow } from "./table.js";

const form = document.querySelector("[data-play]");
const seen = document.getElementById("seen");
const fields = document.getElementById("fields");

function titled(name) {
  return name.replace(/(^|-)./g, (letters) => letters.toUpperCase());
}

async function play() {
  const { peer, ...values } = Object.fromEntries(new FormData(form));
  const response = await fetch(form.dataset.play, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ peer, fields: values }),
  });
  const answer = await response.json();
  seen.replaceChildren();
  fields.replaceChildren();
  for (const [name, value] of Object.entries(answer.without)) addRow(seen, name, value, answer.trusted[name]);
  for (const [name, reason] of Object.entries(answer.fields)) addRow(fields, titled(name), reason);
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  play();
});
for (const choice of form.querySelectorAll("[name=peer]")) choice.addEventListener("change", play);
play();
