// An exported view's own script: draws the figures and saves what is in the page. It asks nobody for anything.
(() => {
  "use strict";
  const block = (name) => document.getElementById(`steerscope-${name}`);
  const bytesOf = (name) => Uint8Array.from(atob(block(name).textContent), (character) => character.charCodeAt(0));
  const figures = JSON.parse(block("figures").textContent);
  const fileName = document.documentElement.dataset.file;

  function save(blob, name) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  }

  function draw(place, number) {
    const { data, layout } = figures[number];
    const config = { responsive: true, displayModeBar: false, displaylogo: false };
    const font = { ...layout.font, color: getComputedStyle(place).color };
    return Plotly.newPlot(place, data, { ...layout, font, autosize: true }, config);
  }

  async function saveFigure(number, format) {
    const place = document.getElementById(`figure-${number}`);
    const { data, layout } = figures[number];
    const size = { width: place.clientWidth, height: Number(place.dataset.height) };
    const image = { data, layout: { ...layout, ...size, paper_bgcolor: "#FFFFFF" } };
    const name = `${fileName}-${figures[number].name}`;
    await Plotly.downloadImage(image, { format, ...size, scale: format === "png" ? 2 : 1, filename: name });
  }

  const unpacked = (name) => {
    const plain = new Blob([bytesOf(name)]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(plain).text();
  };

  async function saveNumbers() {
    save(new Blob([await unpacked("view")], { type: "application/json" }), `${fileName}.json`);
  }

  // The page's policy knows the digest of this text, so it may run.
  async function loadPlotly() {
    const script = document.createElement("script");
    script.textContent = await unpacked("plotly");
    document.head.append(script);
  }

  const saving = {
    view: () => save(new Blob([bytesOf("view")], { type: "application/gzip" }), `${fileName}.steerscope`),
    data: () => save(new Blob([bytesOf("data")], { type: "application/zip" }), `${fileName}.zip`),
    numbers: saveNumbers,
  };
  document.addEventListener("click", (event) => {
    const { figure, format, save: kind } = event.target.dataset ?? {};
    if (figure !== undefined) saveFigure(Number(figure), format);
    if (kind !== undefined) saving[kind]();
  });
  loadPlotly().then(() => document.querySelectorAll(".plot").forEach(draw));
})();
