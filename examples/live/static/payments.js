// The payment: five presses with one key. A 409 says that the first press is still being served.

import { addRow } from "./table.js";

const section = document.querySelector("[data-pay]");
const presses = document.getElementById("presses");
const payments = document.getElementById("payments");
let key = crypto.randomUUID();
let count = 0;

function showKey() {
  document.getElementById("key").textContent = key.slice(0, 8);
}

async function press(amount) {
  count += 1;
  const row = addRow(presses, count, "…", "");
  for (;;) {
    const response = await fetch(section.dataset.pay, {
      method: "POST",
      headers: { "content-type": "application/json", "idempotency-key": key },
      body: JSON.stringify({ amount }),
    });
    row.cells[1].textContent = response.status;
    if (response.status !== 409) {
      const text = await response.text();
      const receipt = response.ok ? `receipt ${JSON.parse(text).receipt}` : text;
      row.cells[2].textContent = response.headers.has("idempotent-replayed") ? `${receipt}, the stored answer` : receipt;
      return;
    }
    row.cells[2].textContent = "still being paid, tries again";
    await new Promise((resolve) => setTimeout(resolve, 1000 * response.headers.get("retry-after")));
  }
}

document.getElementById("five").addEventListener("click", () => {
  for (let number = 0; number < 5; number += 1) press(5);
});
document.getElementById("other").addEventListener("click", () => press(500));
document.getElementById("new").addEventListener("click", () => {
  key = crypto.randomUUID();
  count = 0;
  presses.replaceChildren();
  payments.replaceChildren();
  showKey();
});

new EventSource(section.dataset.book).onmessage = (event) => {
  if (!event.data) return;
  const { receipt, amount } = JSON.parse(event.data);
  if (!payments.querySelector("code")) payments.replaceChildren();
  const line = document.createElement("li");
  const number = document.createElement("code");
  number.textContent = receipt;
  line.append(number, ` ${amount} €`);
  payments.append(line);
};
showKey();
