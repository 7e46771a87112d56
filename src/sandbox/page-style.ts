/** Two palettes by the reader's own setting; numbers line up, long text is cut, tables scroll by themselves. */
export const pageStyle = `
:root {
  --back: #f6f6f3; --card: #ffffff; --line: #e3e2dc; --text: #1f2023; --faint: #6c6d72;
  --accent: #1d6f5c; --good: #1d6f5c; --warn: #9a6200; --bad: #b3261e; --row: #fafaf7;
}
@media (prefers-color-scheme: dark) {
  :root {
    --back: #131416; --card: #1b1d20; --line: #2c2f34; --text: #e9e9e6; --faint: #9a9ca2;
    --accent: #6fcdb3; --good: #6fcdb3; --warn: #e3b25b; --bad: #ff8f85; --row: #202327;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 24px clamp(16px, 3vw, 40px) 40px; max-width: 1480px;
  background: var(--back); color: var(--text);
  font: 14px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
}
header { display: flex; justify-content: space-between; align-items: center; gap: 16px; }
h1 { margin: 0; font-size: 22px; font-weight: 650; letter-spacing: -0.01em; }
h2 { margin: 0; padding: 14px 16px 10px; font-size: 14px; font-weight: 620; }
.title p { margin: 2px 0 0; color: var(--faint); }
#state { margin: 0; color: var(--faint); white-space: nowrap; }
#state::before {
  content: ""; display: inline-block; width: 8px; height: 8px; margin-right: 8px;
  border-radius: 50%; background: var(--faint);
}
#state.live::before { background: var(--good); }
#state.lost::before { background: var(--bad); }
#counters {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(130px, 1fr)); gap: 1px;
  margin: 20px 0; border: 1px solid var(--line); border-radius: 10px; overflow: hidden;
  background: var(--card);
}
#counters div {
  display: flex; flex-direction: column-reverse; justify-content: flex-end;
  padding: 12px 16px; box-shadow: 0 0 0 1px var(--line);
}
#counters dt { color: var(--faint); font-size: 12.5px; }
#counters dd { margin: 0; font-size: 22px; font-weight: 600; font-variant-numeric: tabular-nums; }
#counters .bad dd { color: var(--bad); }
#counters .warn dd { color: var(--warn); }
main { display: grid; grid-template-columns: minmax(0, 1.5fr) minmax(0, 1fr); gap: 20px; align-items: start; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px; overflow: hidden; }
.scroll { height: 330px; overflow: auto; scrollbar-width: thin; }
table { width: 100%; border-collapse: collapse; table-layout: auto; }
th {
  position: sticky; top: 0; padding: 6px 12px; background: var(--card); color: var(--faint);
  font-size: 12px; font-weight: 500; text-align: left; box-shadow: inset 0 -1px var(--line);
}
td {
  padding: 6px 12px; border-bottom: 1px solid var(--line); max-width: 260px;
  overflow: hidden; text-overflow: ellipsis; white-space: nowrap;
}
tbody tr:hover { background: var(--row); }
tbody tr:last-child td { border-bottom: 0; }
th:first-child, td:first-child { padding-left: 16px; }
th:last-child, td:last-child { padding-right: 16px; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
.time { color: var(--faint); font-variant-numeric: tabular-nums; width: 1%; }
.faint { color: var(--faint); }
.good { color: var(--good); } .warn { color: var(--warn); } .bad { color: var(--bad); }
td.empty { padding: 28px 16px; color: var(--faint); text-align: center; white-space: normal; }
@media (max-width: 1150px) {
  main { grid-template-columns: minmax(0, 1fr); }
  .scroll { height: auto; max-height: 330px; }
}
`;
