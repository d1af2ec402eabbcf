"""The report's style sheet: one column, cards, light and dark by the reader's system."""

STYLE = """
:root {
  --paper: #fbfaf8; --card: #ffffff; --ink: #22252a; --soft: #656b75; --line: #e4e1db;
  --train: #4f7cac; --test: #c8553d; --rate: #6b8f3c; --good: #2f6da5; --bad: #c8553d;
  --p1: #4f7cac; --p2: #c8553d; --p3: #b58a2c; --p4: #6b8f3c;
  --shadow: 0 1px 2px rgba(30, 25, 15, .06), 0 4px 16px rgba(30, 25, 15, .04);
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #16181c; --card: #1f2227; --ink: #e6e7ea; --soft: #9aa1ac; --line: #343941;
    --train: #86b1e0; --test: #f08c72; --rate: #a3c76d; --good: #6ba5dd; --bad: #f08c72;
    --p1: #86b1e0; --p2: #f08c72; --p3: #dcb65c; --p4: #a3c76d; --shadow: none;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; color-scheme: light dark; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial,
    "PingFang SC", "Hiragino Sans GB", "Microsoft YaHei", "Noto Sans CJK SC", "Noto Sans SC",
    "Source Han Sans SC", "WenQuanYi Micro Hei", sans-serif;
}
main { max-width: 1080px; margin: 0 auto; padding: 40px 20px 32px; }
header p, .note { color: var(--soft); margin: 4px 0 0; }
h1 { font-size: 30px; line-height: 1.2; margin: 0; letter-spacing: -.01em; }
h2 { font-size: 20px; margin: 0 0 2px; }
h3 { font-size: 15px; margin: 0 0 6px; font-weight: 600; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 12px;
  padding: 22px 24px 24px; margin-top: 20px; box-shadow: var(--shadow); }
.note { font-size: 14px; margin-bottom: 16px; max-width: 68ch; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(200px, 1fr)); gap: 14px;
  margin-top: 24px; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 12px;
  padding: 14px 18px; box-shadow: var(--shadow); }
.card b { display: block; font-size: 28px; line-height: 1.25; font-weight: 650;
  font-variant-numeric: tabular-nums; }
.card span { color: var(--soft); font-size: 14px; display: block; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 330px), 1fr));
  gap: 24px; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; font-size: 14px; color: var(--soft);
  margin: 0 0 6px; padding: 0; list-style: none; }
.legend i { display: inline-block; width: 12px; height: 12px; border-radius: 3px;
  margin-right: 6px; vertical-align: -1px; }
i.train { background: var(--train); } i.test { background: var(--test); }
i.rate { background: var(--rate); }
i.p1 { background: var(--p1); } i.p2 { background: var(--p2); } i.p3 { background: var(--p3); }
i.p4 { background: var(--p4); }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--soft); font-size: 12px; font-family: inherit; }
.grid { stroke: var(--line); stroke-width: 1; }
.line { fill: none; stroke-width: 2.25; stroke-linejoin: round; stroke-linecap: round; }
.line.train { stroke: var(--train); } .line.test { stroke: var(--test); }
.line.rate { stroke: var(--rate); }
.dot.train { fill: var(--train); } .dot.test { fill: var(--test); } .dot.rate { fill: var(--rate); }
.cell { stroke: var(--line); stroke-width: .6; }
.cell.right { fill: var(--good); } .cell.wrong { fill: var(--bad); }
svg .count { fill: var(--ink); font-variant-numeric: tabular-nums; }
svg .count.on { fill: #fff; }
@media (prefers-color-scheme: dark) { svg .count.on { fill: #101216; } }
.frame { fill: none; stroke: var(--line); }
.halo { fill: var(--test); fill-opacity: .22; stroke: var(--test); stroke-width: .8; }
.core { fill: var(--train); }
.divided { height: 26px; border-radius: 6px; overflow: hidden; }
.part.p1 { fill: var(--p1); } .part.p2 { fill: var(--p2); } .part.p3 { fill: var(--p3); }
.part.p4 { fill: var(--p4); }
.pictures { display: grid; gap: 14px; }
.mistakes { grid-template-columns: repeat(auto-fill, minmax(96px, 1fr)); }
.faces { grid-template-columns: repeat(auto-fill, minmax(180px, 1fr)); }
figure { margin: 0; font-size: 13px; line-height: 1.35; overflow-wrap: anywhere; }
figure img, figure svg { width: 100%; height: auto; border-radius: 6px; display: block;
  margin-bottom: 5px; background: var(--line); }
.pixels img { image-rendering: pixelated; }
figure em { color: var(--bad); font-style: normal; font-weight: 600; }
figure small { display: block; color: var(--soft); font-size: 12px; }
.filters { display: flex; flex-wrap: wrap; gap: 6px; margin-bottom: 18px; }
.filters img { width: 52px; height: 52px; border-radius: 4px; image-rendering: pixelated; }
.filters img.map { width: 76px; height: 76px; }
.true-point { fill: none; stroke: #3ddc84; }
.predicted-point { fill: #ff4f64; }
.between { stroke: #ffd24a; stroke-width: .6; }
i.true-mark { border: 2.5px solid #2bb56b; border-radius: 50% !important; }
i.predicted-mark { background: #ff4f64; border-radius: 50% !important; }
.table { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14px;
  font-variant-numeric: tabular-nums; }
th { text-align: left; color: var(--soft); font-weight: 600; white-space: nowrap; }
th, td { padding: 5px 14px 5px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th.n, td.n { text-align: right; white-space: nowrap; }
tr:last-child td { border-bottom: 0; }
tr.sum td { font-weight: 650; border-top: 2px solid var(--line); }
td.name { white-space: nowrap; }
.long { max-height: 560px; overflow: auto; }
.bar { display: inline-block; height: 9px; border-radius: 3px; background: var(--train);
  vertical-align: 1px; margin-right: 8px; }
.bars td.n { width: 30%; text-align: left; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 20px; margin: 0;
  font-size: 14px; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
footer { color: var(--soft); font-size: 13px; text-align: center; margin-top: 28px; }
@media (max-width: 560px) { main { padding: 24px 12px; } section { padding: 16px; }
  h1 { font-size: 24px; } }
@media print { section, .card { break-inside: avoid; box-shadow: none; } }
"""
