// The limit: shows the headers RateLimit and Retry-After of each answer.

const section = document.querySelector("[data-press]");
const meter = document.getElementById("left");
const answer = document.getElementById("answer");

document.getElementById("press").addEventListener("click", async () => {
  const response = await fetch(section.dataset.press, { method: "POST" });
  const left = Number(/;r=(\d+)/.exec(response.headers.get("ratelimit") ?? "")?.[1] ?? 0);
  meter.value = left;
  if (response.status === 429) {
    answer.textContent = `429: too many. Try again in ${response.headers.get("retry-after")} s.`;
  } else {
    answer.textContent = `${left} presses left, counted by worker ${(await response.json()).worker}.`;
  }
});
