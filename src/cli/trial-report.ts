import { entryNames } from '../ingest/schema.js';
import { isJsonObject, stringifyJson } from '../json/json.js';
import { toPostedLane } from '../model/lane.js';
import type { Tried, TriedEntry } from './trial.js';

/** The report of one request, for the terminal. */
export function formatTried(
  { source, topic, entries, warnings, skipped, facts, errors, repeat }: Tried,
  { index, of }: { readonly index: number; readonly of: number },
): string {
  const title = [source, topic].filter((each) => each !== null).join(' ');
  const lines = [of === 1 ? title : `${index + 1}. ${title}`];
  for (const { pointer, detail } of errors)
    lines.push(`  rejected: ${formatIssue(pointer, detail)}`);
  if (repeat) lines.push('  skipped: an earlier request of this file has the same id');
  for (const entry of entries) lines.push(...formatEntry(entry));
  for (const { code, pointer, detail } of warnings) {
    lines.push(`  warning: ${code === null ? '' : `${code}, `}${formatIssue(pointer, detail)}`);
  }
  for (const { reason, kind, id } of skipped) {
    const part = [kind, id].filter((each) => each !== undefined).join(' ');
    lines.push(`  skipped: ${reason}${part === '' ? '' : ` (${part})`}`);
  }
  for (const { kind, name, value } of facts) {
    lines.push(`  kept: ${kind} ${name ?? ''} ${kind === 'delivery' ? '' : value}`.trimEnd());
  }
  if (lines.length === 1) lines.push('  nothing');
  return `${lines.join('\n')}\n`;
}

const outcomes = {
  sent: 'would be sent to Klaviyo',
  waiting: 'would wait until a later request identifies the person',
  dead_letter: 'would become a dead letter',
} as const;

function formatEntry(tried: TriedEntry): readonly string[] {
  const { lane, outcome, entry, klaviyo, personKeys, reason, errors } = tried;
  const name = typeof entry.event_name === 'string' ? ` "${entry.event_name}"` : '';
  const kind = `${lane === 'waiting' ? 'entry' : entryNames[toPostedLane(lane)].one}${name}`;
  const lines = [`  ${kind}: ${outcomes[outcome]}${reason === null ? '' : ` (${reason})`}`];
  if (outcome === 'waiting') lines.push(`    looked up as: ${personKeys.join(', ')}`);
  if (outcome === 'dead_letter') {
    for (const { pointer, detail } of errors) lines.push(`    ${formatIssue(pointer, detail)}`);
  }
  lines.push(indent(formatJson(klaviyo ?? entry)));
  return lines;
}

function formatIssue(pointer: string, detail: string): string {
  return pointer === '' ? detail : `${pointer} ${detail}`;
}

/** Like `JSON.stringify(value, null, 2)`, but numbers keep their digits. */
function formatJson(value: unknown, margin = ''): string {
  const inner = `${margin}  `;
  if (Array.isArray(value) && value.length > 0) {
    return formatBlock(
      '[]',
      value.map((each) => formatJson(each, inner)),
      margin,
    );
  }
  if (!isJsonObject(value)) return stringifyJson(value);
  const members = Object.entries(value).filter(([, member]) => member !== undefined);
  if (members.length === 0) return '{}';
  const lines = members.map(
    ([name, member]) => `${JSON.stringify(name)}: ${formatJson(member, inner)}`,
  );
  return formatBlock('{}', lines, margin);
}

function formatBlock(brackets: '[]' | '{}', lines: readonly string[], margin: string): string {
  const [open = '', close = ''] = brackets;
  return `${open}\n${lines.map((line) => `${margin}  ${line}`).join(',\n')}\n${margin}${close}`;
}

const indent = (text: string): string => text.replace(/^/gm, '    ');
