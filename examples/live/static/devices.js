// The list of sessions: another window's logout changes it, or ends this session.

const source = new EventSource(document.querySelector("[data-changes]").dataset.changes);
source.onmessage = (event) => {
  if (event.data) location.reload();
};
