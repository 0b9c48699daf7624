// The order of search results: pages that help a user first, decisions and internals last.
var Scorer = {
  score: ([docname, title, anchor, descr, score]) => {
    if (docname.startsWith("decisions/")) return score - 30;
    if (["deviations", "figures", "growth", "guide/walk", "guide/value-path"].includes(docname)) return score - 10;
    if (docname.startsWith("guide/") || docname.startsWith("tutorial/")) return score + 2;
    return score;
  },
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: {0: 15, 1: 5, 2: -5},
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
