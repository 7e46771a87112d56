// Loads the JSON under /sandbox once a second while the page is visible, and fills its tables.
// All data goes through `textContent`: what a client sent is shown as text and never as markup.
'use strict';
const byId = (id) => document.getElementById(id);
const number = new Intl.NumberFormat();
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: 'medium' });
const calendar = new Intl.DateTimeFormat(undefined, { dateStyle: 'short', timeStyle: 'short' });
const rows = 100;

const cell = (text, cssClass, hint) => {
  const element = document.createElement('td');
  element.textContent = text;
  if (cssClass) element.className = cssClass;
  if (hint) element.title = hint;
  return element;
};

const fill = (id, lines, empty) => {
  const body = byId(id).tBodies[0];
  if (lines.length === 0) {
    const only = cell(empty, 'empty');
    only.colSpan = byId(id).tHead.rows[0].cells.length;
    lines = [[only]];
  }
  body.replaceChildren(
    ...lines.map((cells) => {
      const row = document.createElement('tr');
      row.append(...cells);
      return row;
    }),
  );
};

const isToday = (ms) => new Date(ms).toDateString() === new Date().toDateString();
const toTime = (ms) => (ms === null ? '–' : (isToday(ms) ? clock : calendar).format(ms));
const toMoney = (value, currency) => {
  if (value === null) return '';
  try {
    return new Intl.NumberFormat(undefined, currency ? { style: 'currency', currency } : {}).format(
      value,
    );
  } catch {
    return value + ' ' + currency;
  }
};
const toSize = (bytes) =>
  bytes < 1000
    ? number.format(bytes) + ' B'
    : bytes < 1e6
      ? (bytes / 1000).toFixed(1) + ' KB'
      : (bytes / 1e6).toFixed(2) + ' MB';
const toStatusClass = (status) =>
  status === null || status >= 500 ? 'bad' : status >= 400 ? 'warn' : 'good';
const toBrief = (object) =>
  Object.entries(object ?? {})
    .map(
      ([name, value]) => name + ': ' + (typeof value === 'object' ? JSON.stringify(value) : value),
    )
    .join(', ');

const showCounters = ({ counters, profiles, requests, violations }) => {
  const shown = [
    ['Events recorded', counters.recorded],
    ['Profiles', profiles],
    ['Requests', requests.total],
    ['Repeats by unique_id', counters.repeats],
    ['Backfilled, no flows', counters.backfilled],
    ['Subscribed', counters.subscribed],
    ['Unsubscribed', counters.unsubscribed],
    ['Deleted on request', counters.deleted],
    ['Silently dropped', counters.silentlyDropped, counters.silentlyDropped > 0 && 'warn'],
    ['Failed imports', counters.importFailed, counters.importFailed > 0 && 'warn'],
    ['Windows exceeded', violations.total, violations.total > 0 && 'bad'],
  ];
  byId('counters').replaceChildren(
    ...shown.map(([name, value, cssClass]) => {
      const box = document.createElement('div');
      const term = document.createElement('dt');
      const amount = document.createElement('dd');
      term.textContent = name;
      amount.textContent = number.format(value);
      if (cssClass) box.className = cssClass;
      box.append(term, amount);
      return box;
    }),
  );
};

const showFeed = ({ data }) =>
  fill(
    'feed',
    data.map((event) => [
      cell(toTime(event.timestamp * 1000), 'time', event.time),
      cell(event.metric, '', toBrief(event.properties)),
      cell(
        event.backfill ? 'yes' : '',
        'faint',
        event.backfill ? 'recorded without triggering flows' : '',
      ),
      cell(event.who, '', event.profileId),
      cell(toMoney(event.value, event.valueCurrency), 'number'),
    ]),
    'No events yet. POST /api/events or /api/event-bulk-create-jobs to see some.',
  );

// Shows consent in words, because some readers cannot tell the colours apart.
const toConsentCell = (consent) => {
  const entries = Object.entries(consent).map(([type, { status, consentedAt }]) => ({
    text: type.replace('.', ' ').replace('_', ' ') + ': ' + status.toLowerCase(),
    since: toTime(consentedAt),
    isGranted: status === 'SUBSCRIBED',
  }));
  const isGranted = entries.some((entry) => entry.isGranted);
  return cell(
    entries.length === 0 ? 'never subscribed' : entries.map(({ text }) => text).join('\n'),
    'lines ' + (entries.length === 0 ? 'faint' : isGranted ? 'good' : 'warn'),
    entries.map(({ text, since }) => text + ' since ' + since).join('\n'),
  );
};

const toSuppressionCell = (suppressions, listSuppressions) => {
  const all = [
    ...suppressions.map(({ reason, at }) => ({ text: reason, at })),
    ...listSuppressions.map(({ listId, reason, at }) => ({ text: reason + ' in ' + listId, at })),
  ];
  return cell(
    all.map(({ text }) => text).join('\n'),
    'lines warn',
    all.map(({ text, at }) => text + ' since ' + toTime(at)).join('\n'),
  );
};

const showProfiles = ({ data }) =>
  fill(
    'profiles',
    data.map(({ id, who, attributes, updatedAt, ...profile }) => [
      cell(who, '', id),
      cell([attributes.first_name, attributes.last_name].filter(Boolean).join(' ')),
      toConsentCell(profile.consent),
      toSuppressionCell(profile.suppressions, profile.listSuppressions),
      cell(profile.lists.join('\n'), 'lines faint'),
      cell(toBrief(attributes.properties), 'faint', JSON.stringify(attributes, null, 1)),
      cell(toTime(updatedAt), 'time'),
    ]),
    'No profiles yet.',
  );

const isForwarded = ({ revision, servedRevision }) =>
  servedRevision !== null && !revision.startsWith(servedRevision);

const showRequests = ({ data }) =>
  fill(
    'requests',
    data.map((request) => [
      cell(toTime(request.at), 'time'),
      cell(request.endpoint, '', request.method + ' ' + request.path),
      cell(request.count ? number.format(request.count) : '', 'number'),
      cell(request.bytes ? toSize(request.bytes) : '', 'number'),
      cell(request.status ?? 'cut', 'number ' + toStatusClass(request.status)),
      cell(
        request.servedRevision ?? request.revision ?? '',
        isForwarded(request) ? 'warn' : 'faint',
        isForwarded(request) ? request.revision + ' was asked for' : '',
      ),
    ]),
    'No requests yet.',
  );

const showImports = ({ data }) =>
  fill(
    'imports',
    data.map((job) => [
      cell(toTime(job.createdAt), 'time', job.id),
      cell(job.status, job.status === 'complete' ? 'good' : 'faint'),
      cell(number.format(job.total), 'number'),
      cell(
        number.format(job.failed),
        'number' + (job.failed > 0 ? ' warn' : ''),
        job.errors.map(({ detail }) => detail).join(', '),
      ),
    ]),
    'No import jobs yet.',
  );

const load = async (path, show) => {
  const response = await fetch(path, { cache: 'no-store' });
  if (!response.ok) throw new Error(path + ' responded with ' + response.status);
  show(await response.json());
};

const refresh = async () => {
  const state = byId('state');
  try {
    if (!document.hidden) {
      await Promise.all([
        load('sandbox/stats', showCounters),
        load('sandbox/feed?limit=' + rows, showFeed),
        load('sandbox/profiles?limit=' + rows, showProfiles),
        load('sandbox/requests?limit=' + rows, showRequests),
        load('sandbox/imports?limit=' + rows, showImports),
      ]);
    }
    state.textContent = 'live';
    state.className = 'live';
  } catch {
    state.textContent = 'not reachable';
    state.className = 'lost';
  }
  setTimeout(refresh, 1000);
};
refresh();
