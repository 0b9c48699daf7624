// The report: one tile for each visitor, with the age of the answer.

const section = document.querySelector("[data-tabs]");
const summary = document.getElementById("summary");
const visitors = document.getElementById("visitors");
const button = document.getElementById("open");

function addTile({ worker, seconds, age, cache }) {
  const tile = document.createElement("li");
  const how = document.createElement("b");
  how.textContent = age === null ? "computed" : `Age: ${age}`;
  tile.className = age === null ? "fresh" : "";
  tile.title = cache;
  tile.append(how, `after ${seconds.toFixed(2)} s`);
  visitors.append(tile);
}

button.addEventListener("click", async () => {
  button.disabled = true;
  summary.textContent = "Twenty visitors are waiting …";
  visitors.replaceChildren();
  const response = await fetch(section.dataset.tabs, { method: "POST" });
  button.disabled = false;
  if (!response.ok) {
    summary.textContent = `${response.status}: ${await response.text()}`;
    return;
  }
  const answers = await response.json();
  answers.sort((one, other) => (one.age !== null) - (other.age !== null) || one.seconds - other.seconds);
  answers.forEach(addTile);
  const computations = new Set(answers.map((answer) => answer.computed_at)).size;
  const fresh = answers.some((answer) => answer.age === null);
  summary.textContent = fresh
    ? `20 answers, ${computations} computation${computations === 1 ? "" : "s"}, by worker ${answers[0].worker}.`
    : `20 answers from the cache, computed ${answers[0].age} s ago by worker ${answers[0].worker}.`;
});

document.getElementById("forget").addEventListener("click", async () => {
  await fetch(section.dataset.forget, { method: "POST" });
  summary.textContent = "The report is gone from the cache of both workers.";
  visitors.replaceChildren();
});
