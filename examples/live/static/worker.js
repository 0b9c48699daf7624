// The footer: the worker that serves this page, and buttons that end it. Shows how long nobody answered.

const worker = document.getElementById("worker");
const outage = document.getElementById("outage");

async function ask() {
  const response = await fetch(worker.dataset.url, { cache: "no-store" });
  return (await response.json()).worker;
}

async function replace(button) {
  button.disabled = true;
  const answer = await fetch(button.dataset.replace, { method: "POST" }).catch(() => null);
  const ended = answer?.ok ? (await answer.json()).worker : null;
  const begin = performance.now();
  let missed = 0;
  await new Promise((resolve) => setTimeout(resolve, 100));
  for (;;) {
    try {
      worker.textContent = await ask();
      break;
    } catch {
      missed = Math.round(performance.now() - begin);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
  outage.textContent = ended
    ? `Worker ${ended} has ended. ${missed ? `Nobody answered for ${missed} ms.` : "Another one answered at once."}`
    : "The worker could not be ended.";
  button.disabled = false;
}

for (const button of document.querySelectorAll("[data-replace]")) {
  button.addEventListener("click", () => replace(button));
}
