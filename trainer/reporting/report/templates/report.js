// Reads the values of the curves at the pointer, or at a place moved by the arrow keys.
for (const chart of document.querySelectorAll("svg[data-curves]")) {
  const curves = JSON.parse(chart.dataset.curves), cursor = chart.querySelector(".cursor");
  const output = chart.closest("figure").querySelector("output");
  const places = [...new Set(curves.flatMap(curve => curve.p.map(point => point[0])))].sort((a, b) => a - b);
  let at = places.length - 1;
  const show = x => {
    at = places.reduce((best, place, i) => Math.abs(place - x) < Math.abs(places[best] - x) ? i : best, 0);
    cursor.setAttribute("x1", places[at]); cursor.setAttribute("x2", places[at]);
    const near = curves.map(curve => [curve.n, curve.p.reduce((a, b) => Math.abs(b[0] - places[at]) < Math.abs(a[0] - places[at]) ? b : a)]);
    const here = near.find(([, point]) => point[0] === places[at]);
    output.textContent = here[1][2] + " · " + near.map(([name, point]) => name + " " + point[3]).join(" · ");
  };
  const clear = () => { cursor.setAttribute("x1", -9); cursor.setAttribute("x2", -9); output.textContent = "\u00a0"; };
  chart.addEventListener("pointermove", event => {
    const box = chart.getBoundingClientRect();
    show((event.clientX - box.left) / box.width * chart.viewBox.baseVal.width);
  });
  chart.addEventListener("pointerleave", clear);
  chart.addEventListener("blur", clear);
  chart.addEventListener("focus", () => show(places[at]));
  chart.addEventListener("keydown", event => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step) { event.preventDefault(); show(places[Math.max(0, Math.min(places.length - 1, at + step))]); }
  });
}
