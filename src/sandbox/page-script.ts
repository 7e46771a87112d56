/**
 * Asks for the JSON once a second while the page is looked at. Everything shown goes through
 * `textContent`: what callers sent is text here, never markup.
 */
export const pageScript = `
'use strict';
const byId = (id) => document.getElementById(id);
const number = new Intl.NumberFormat();
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: 'medium' });
const calendar = new Intl.DateTimeFormat(undefined, { dateStyle: 'short', timeStyle: 'short' });
const rows = 100;

const cell = (text, kind, hint) => {
  const made = document.createElement('td');
  made.textContent = text;
  if (kind) made.className = kind;
  if (hint) made.title = hint;
  return made;
};

const fill = (id, lines, empty) => {
  const body = byId(id).tBodies[0];
  if (lines.length === 0) {
    const only = cell(empty, 'empty');
    only.colSpan = byId(id).tHead.rows[0].cells.length;
    lines = [[only]];
  }
  body.replaceChildren(...lines.map((cells) => {
    const row = document.createElement('tr');
    row.append(...cells);
    return row;
  }));
};

const isToday = (ms) => new Date(ms).toDateString() === new Date().toDateString();
const toTime = (ms) => ms === null ? '–' : (isToday(ms) ? clock : calendar).format(ms);
const toMoney = (value, currency) => {
  if (value === null) return '';
  try {
    return new Intl.NumberFormat(undefined, currency ? { style: 'currency', currency } : {}).format(value);
  } catch { return value + ' ' + currency; }
};
const toSize = (bytes) => bytes < 1000 ? number.format(bytes) + ' B'
  : bytes < 1e6 ? (bytes / 1000).toFixed(1) + ' KB' : (bytes / 1e6).toFixed(2) + ' MB';
const toKind = (status) => status === null || status >= 500 ? 'bad' : status >= 400 ? 'warn' : 'good';
const toBrief = (object) => Object.entries(object ?? {})
  .map(([name, value]) => name + ': ' + (typeof value === 'object' ? JSON.stringify(value) : value)).join(', ');

const showCounters = ({ counters, profiles, requests, violations }) => {
  const shown = [
    ['Events recorded', counters.recorded],
    ['Profiles', profiles],
    ['Requests', requests.total],
    ['Repeats by unique_id', counters.repeats],
    ['Backfilled, no flows', counters.backfilled],
    ['Silently dropped', counters.silentlyDropped, counters.silentlyDropped > 0 && 'warn'],
    ['Failed imports', counters.importFailed, counters.importFailed > 0 && 'warn'],
    ['Windows exceeded', violations.total, violations.total > 0 && 'bad'],
  ];
  byId('counters').replaceChildren(...shown.map(([name, value, kind]) => {
    const box = document.createElement('div');
    const term = document.createElement('dt');
    const amount = document.createElement('dd');
    term.textContent = name;
    amount.textContent = number.format(value);
    if (kind) box.className = kind;
    box.append(term, amount);
    return box;
  }));
};

const showFeed = ({ data }) => fill('feed', data.map((event) => [
  cell(toTime(event.timestamp * 1000), 'time', event.time),
  cell(event.metric, '', toBrief(event.properties)),
  cell(event.backfill ? 'yes' : '', 'faint', event.backfill ? 'recorded without triggering flows' : ''),
  cell(event.who, '', event.profileId),
  cell(toMoney(event.value, event.valueCurrency), 'number'),
]), 'No events yet. POST /api/events or /api/event-bulk-create-jobs to see some.');

const showProfiles = ({ data }) => fill('profiles', data.map(({ id, who, attributes, updatedAt }) => [
  cell(who, '', id),
  cell([attributes.first_name, attributes.last_name].filter(Boolean).join(' ')),
  cell(toBrief(attributes.properties), 'faint', JSON.stringify(attributes, null, 1)),
  cell(toTime(updatedAt), 'time'),
]), 'No profiles yet.');

const isForwarded = ({ revision, servedRevision }) =>
  servedRevision !== null && !revision.startsWith(servedRevision);

const showRequests = ({ data }) => fill('requests', data.map((one) => [
  cell(toTime(one.at), 'time'),
  cell(one.endpoint, '', one.method + ' ' + one.path),
  cell(one.count ? number.format(one.count) : '', 'number'),
  cell(one.bytes ? toSize(one.bytes) : '', 'number'),
  cell(one.status ?? 'cut', 'number ' + toKind(one.status)),
  cell(one.servedRevision ?? one.revision ?? '', isForwarded(one) ? 'warn' : 'faint',
    isForwarded(one) ? one.revision + ' was asked for' : ''),
]), 'No requests yet.');

const showImports = ({ data }) => fill('imports', data.map((job) => [
  cell(toTime(job.createdAt), 'time', job.id),
  cell(job.status, job.status === 'complete' ? 'good' : 'faint'),
  cell(number.format(job.total), 'number'),
  cell(number.format(job.failed), 'number' + (job.failed > 0 ? ' warn' : ''), job.errors.map(({ detail }) => detail).join(', ')),
]), 'No import jobs yet.');

const ask = async (path, show) => {
  const answer = await fetch(path, { cache: 'no-store' });
  if (!answer.ok) throw new Error(path + ' answered ' + answer.status);
  show(await answer.json());
};

const look = async () => {
  const state = byId('state');
  try {
    if (!document.hidden) {
      await Promise.all([
        ask('sandbox/stats', showCounters),
        ask('sandbox/feed?limit=' + rows, showFeed),
        ask('sandbox/profiles?limit=' + rows, showProfiles),
        ask('sandbox/requests?limit=' + rows, showRequests),
        ask('sandbox/imports?limit=' + rows, showImports),
      ]);
    }
    state.textContent = 'live';
    state.className = 'live';
  } catch {
    state.textContent = 'not reachable';
    state.className = 'lost';
  }
  setTimeout(look, 1000);
};
look();
`;
