// Tasks: the answer of the request, the steps that follow it, and the ticks of the worker with the lease.

const section = document.querySelector("[data-start]");
const answer = document.getElementById("answer");
const baking = document.getElementById("baking");
const ticks = document.getElementById("ticks");

document.getElementById("start").addEventListener("click", async () => {
  const begin = performance.now();
  const response = await fetch(section.dataset.start, { method: "POST" });
  const { task, worker } = await response.json();
  const time = Math.round(performance.now() - begin);
  answer.textContent = `${response.status} after ${time} ms: worker ${worker} has started task ${task}.`;
});

function barOf(task) {
  let line = document.getElementById(`task-${task}`);
  if (!line) {
    line = document.createElement("li");
    line.id = `task-${task}`;
    const bar = document.createElement("progress");
    bar.setAttribute("aria-label", `Task ${task}`);
    line.append(bar, document.createElement("span"));
    baking.prepend(line);
    if (baking.children.length > 4) baking.lastChild.remove();
  }
  return line;
}

new EventSource(section.dataset.progress).onmessage = (event) => {
  if (!event.data) return;
  const { task, step, steps } = JSON.parse(event.data);
  const [bar, text] = barOf(task).children;
  bar.max = steps;
  bar.value = step;
  text.textContent = step === steps ? `Task ${task} is done.` : `Task ${task} is at step ${step} of ${steps}.`;
};

new EventSource(section.dataset.ticks).onmessage = (event) => {
  if (!event.data) return;
  if (!ticks.querySelector("b")) ticks.replaceChildren();
  const line = document.createElement("li");
  const number = document.createElement("b");
  number.textContent = `Tick ${event.lastEventId.split("-").at(-1)}`;
  line.append(number, ` by worker ${JSON.parse(event.data).worker}`);
  ticks.prepend(line);
  if (ticks.children.length > 6) ticks.lastChild.remove();
};
