#include "report/html_parts.h"

namespace hopyard {

const char* const kReportCss = R"css(
:root{color-scheme:light dark;--ground:#f5f6f8;--card:#fff;--text:#1c2330;--soft:#667085;--line:#e3e6ec;--busy:#3f9d63;--peak:#4e8fd6;--bad:#d6336c}
@media(prefers-color-scheme:dark){:root{--ground:#12151b;--card:#1b2029;--text:#e7eaf0;--soft:#98a2b3;--line:#2d3440;--busy:#4fb377;--peak:#5b9be0}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--text);font:14px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:1120px;margin:0 auto;padding:28px 20px 60px}
h1{margin:0;font-size:28px;letter-spacing:-.01em}
h2{margin:0 0 10px;font-size:16px}
header p{margin:4px 0 18px;color:var(--soft)}
section,.tile{background:var(--card);border:1px solid var(--line);border-radius:10px}
section{padding:18px 20px;margin-top:16px;min-width:0}
.note{margin:0 0 10px;color:var(--soft);font-size:13px}
section>.note:last-child{margin:10px 0 0}
.badge{padding:2px 8px;border-radius:9px;background:#f2b84b33;color:inherit;font-size:12px;font-weight:600}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px}
.tile{padding:12px 16px}
.tile span,.tile small{display:block;color:var(--soft);font-size:12px}
.tile b{display:block;font-size:21px;font-weight:650;white-space:nowrap}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(440px,100%),1fr));gap:0 16px;align-items:start}
.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:6px 10px;text-align:left;border-bottom:1px solid var(--line);white-space:nowrap}
tbody tr:last-child td{border-bottom:0}
tbody tr:hover{background:color-mix(in srgb,var(--peak) 8%,transparent)}
th{color:var(--soft);font-weight:600;font-size:12px}
th button{all:unset;cursor:pointer}
th button:hover,th button:focus-visible{color:var(--text);text-decoration:underline}
th[aria-sort=ascending] button::after{content:" ↑"}
th[aria-sort=descending] button::after{content:" ↓"}
td.n{text-align:right}
th.n{text-align:right}
code{display:block;max-width:9em;overflow:hidden;text-overflow:ellipsis;font:12px ui-monospace,Menlo,Consolas,monospace;color:var(--soft)}
.state{padding:1px 8px;border-radius:9px;font-size:12px;background:color-mix(in srgb,var(--soft) 18%,transparent)}
.state.finished{background:color-mix(in srgb,var(--busy) 24%,transparent)}
.state.active{background:color-mix(in srgb,var(--peak) 26%,transparent)}
.state.failed{background:color-mix(in srgb,var(--bad) 26%,transparent)}
.legend{display:flex;flex-wrap:wrap;gap:4px 14px;margin-bottom:10px;font-size:12px;color:var(--soft)}
.swatch{display:inline-flex;align-items:center;gap:6px}
.swatch i{width:10px;height:10px;border-radius:3px;flex:none}
td .swatch{font-weight:600}
.toggles button{all:unset;cursor:pointer;border-radius:6px;padding:1px 4px}
.toggles button:focus-visible{outline:2px solid var(--peak)}
.toggles button.off{opacity:.35;text-decoration:line-through}
.plot{display:block;width:100%;height:auto}
.grid line{stroke:var(--line)}
.plot text{fill:var(--soft);font-size:11px}
.lines path{fill:none;stroke-width:2;stroke-linejoin:round}
.lines path.raw{stroke-width:1;opacity:.28}
.lines circle{fill:var(--card);stroke-width:2}
.lines g.off{display:none}
.cross{stroke:var(--soft);stroke-dasharray:3 3}
.zoom{display:flex;align-items:center;gap:8px;margin-bottom:8px;font-size:12px;color:var(--soft)}
.timeline{display:flex;gap:10px}
.labels{position:relative;flex:none;width:150px;font-size:11px}
.labels div{position:absolute;left:0;right:0;display:flex;justify-content:space-between;align-items:center;line-height:1}
.labels span{color:var(--soft)}
.scroll{flex:1;overflow-x:auto;min-width:0}
.canvas{width:100%}
.canvas svg{display:block}
.canvas rect:hover{filter:brightness(1.25)}
.axis{position:relative;height:22px;margin-top:6px;border-top:1px solid var(--line);color:var(--soft);font-size:11px;overflow:hidden}
.axis span{position:absolute;top:3px;transform:translateX(-50%);white-space:nowrap}
.axis span:first-child{transform:none}
.rows{display:grid;grid-template-columns:auto 1fr auto;gap:8px 12px;align-items:center}
.row{display:contents}
.row em{font-style:normal;text-align:right;font-variant-numeric:tabular-nums;color:var(--soft);font-size:12px}
.bar{display:flex;height:18px;border-radius:5px;overflow:hidden;background:color-mix(in srgb,var(--soft) 18%,transparent)}
.bar i{flex:none}
#tip{position:fixed;z-index:9;max-width:340px;padding:6px 10px;border-radius:7px;background:#10141bf0;color:#f2f4f8;font-size:12px;pointer-events:none;white-space:pre-line;font-variant-numeric:tabular-nums}
#tip .swatch{display:flex}
@media print{body{background:#fff}section{break-inside:avoid}.zoom{display:none}}
)css";

const char* const kReportScript = R"js(
"use strict";
(() => {
  const tip = document.getElementById("tip");
  const hide = () => { tip.hidden = true; };
  const show = (event, fill) => {
    tip.replaceChildren();
    fill(tip);
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    const left = event.clientX + 14 + box.width > innerWidth ? event.clientX - 14 - box.width : event.clientX + 14;
    tip.style.left = Math.max(4, left) + "px";
    tip.style.top = Math.max(4, Math.min(event.clientY + 14, innerHeight - box.height - 4)) + "px";
  };

  document.addEventListener("pointermove", (event) => {
    const text = event.target.dataset && event.target.dataset.t;
    if (text) show(event, (box) => { box.textContent = text; });
    else if (!event.target.closest(".plot")) hide();
  });

  const keyOf = (row, column) => {
    const cell = row.cells[column];
    if (cell.dataset.v === undefined) return cell.textContent;
    return cell.dataset.v === "" ? null : Number(cell.dataset.v);
  };
  const compare = (a, b) => typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
  for (const table of document.querySelectorAll("table.sortable")) {
    const body = table.tBodies[0];
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      if (body.rows.length && body.rows[0].cells[column].classList.contains("n")) head.classList.add("n");
      head.firstChild.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const rows = [...body.rows];
        rows.sort((a, b) => {
          const x = keyOf(a, column), y = keyOf(b, column);
          if (x === null || y === null) return (x === null) - (y === null);
          return down ? compare(y, x) : compare(x, y);
        });
        body.append(...rows);
      });
    });
  }

  const data = document.getElementById("curve-data");
  if (data) curves(JSON.parse(data.textContent));
  function curves(chart) {
    const plot = document.querySelector(".plot"), cross = plot.querySelector(".cross");
    const hidden = new Set();
    for (const button of document.querySelectorAll(".toggles button"))
      button.addEventListener("click", () => {
        const off = button.classList.toggle("off");
        off ? hidden.add(button.dataset.id) : hidden.delete(button.dataset.id);
        for (const line of plot.querySelectorAll(".lines g"))
          if (line.dataset.id === button.dataset.id) line.classList.toggle("off", off);
      });
    const nearest = (points, step) => {
      let low = 0, high = points.length - 1;
      while (low < high) {
        const middle = (low + high) >> 1;
        if (points[middle][0] < step) low = middle + 1; else high = middle;
      }
      return low > 0 && step - points[low - 1][0] < points[low][0] - step ? points[low - 1] : points[low];
    };
    plot.addEventListener("pointermove", (event) => {
      const box = plot.getBoundingClientRect();
      const x = (event.clientX - box.left) / box.width * chart.width;
      if (x < chart.left || x > chart.right) { hide(); return; }
      const step = chart.x0 + (x - chart.left) / (chart.right - chart.left) * (chart.x1 - chart.x0);
      cross.setAttribute("x1", x);
      cross.setAttribute("x2", x);
      const shown = chart.series.filter((s) => !hidden.has(s.id) && step <= s.points.at(-1)[0] + (chart.x1 - chart.x0) / 50);
      const lines = shown.map((s) => ({ s, p: nearest(s.points, step) }));
      lines.sort((a, b) => a.p[1] - b.p[1]);
      show(event, (out) => {
        out.append("step " + Math.round(step));
        for (const { s, p } of lines.slice(0, 20)) {
          const row = document.createElement("span"), mark = document.createElement("i");
          row.className = "swatch";
          mark.style.background = s.color;
          row.append(mark, p[1].toFixed(4) + "  " + s.id + "  " + s.label);
          out.append(row);
        }
      });
    });
    plot.addEventListener("pointerleave", () => { cross.setAttribute("x1", -9); cross.setAttribute("x2", -9); hide(); });
  }

  const zoom = document.querySelector(".zoom input");
  if (zoom) zoom.addEventListener("input", () => {
    const canvas = document.querySelector(".canvas"), scroll = document.querySelector(".scroll"), axis = document.querySelector(".axis");
    const middle = (scroll.scrollLeft + scroll.clientWidth / 2) / canvas.offsetWidth;
    canvas.style.width = zoom.value * 100 + "%";
    scroll.scrollLeft = middle * canvas.offsetWidth - scroll.clientWidth / 2;
    const seconds = Number(axis.dataset.seconds), rough = seconds / (8 * zoom.value);
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = power * ([1, 2, 5].find((f) => f * power >= rough) || 10);
    axis.replaceChildren();
    for (let i = 0; i * step <= seconds; ++i) {
      const tick = document.createElement("span");
      tick.style.left = 100 * i * step / seconds + "%";
      tick.textContent = +(i * step).toPrecision(6) + " s";
      axis.append(tick);
    }
  });
})();
)js";

}  // namespace hopyard
